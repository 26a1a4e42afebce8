"""Settings from the environment, prefix `ADSERVER_`. Imported by main, cli and migrations only."""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _items(value: str) -> list[str]:
    """The items of a list that is written with commas."""
    return [item.strip() for item in value.split(",") if item.strip()]


def _secrets(value: object) -> object:
    """The secrets of such a list."""
    return _items(value) if isinstance(value, str) else value


def _networks(value: object) -> object:
    """The networks of such a list; Python's complaint of one that is none names it."""
    return [ip_network(item) for item in _items(value)] if isinstance(value, str) else value


def _base_url(value: str) -> str:
    """Empty, or a URL that paths can be appended to."""
    url = urlsplit(value)
    is_web_address = url.scheme in ("http", "https") and url.hostname and url.port != 0
    if value and (not is_web_address or re.search(r"[\s?#]", value)):
        raise ValueError("must be an http or https URL with a host, without spaces, query and fragment")
    return value


def _bearer_token(value: SecretStr) -> SecretStr:
    """A token that a header can carry: one read from a file with its last line feed never would be the one sent."""
    if not re.fullmatch("[!-~]*", value.get_secret_value()):
        raise ValueError("must be ASCII without spaces, line feeds and other control characters")
    return value


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """The host as an address; None if it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    """Whether only this machine can connect to the host; of names that is certain of localhost alone (RFC 6761)."""
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def http_url(host: str, port: int) -> str:
    """The URL of a server's root, without a trailing slash."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


BaseUrl = Annotated[str, AfterValidator(_base_url)]
BearerToken = Annotated[SecretStr, AfterValidator(_bearer_token)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_networks)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_secrets)]


class Settings(BaseSettings):
    """Each setting has its unit in its name; docs/settings.md lists them all."""

    # Compose files and unit files hand on a variable that nobody set as an empty one.
    model_config = SettingsConfigDict(env_prefix="ADSERVER_", env_ignore_empty=True, frozen=True, extra="ignore")

    database_url: str = Field("", description="Postgres to use; empty starts an embedded one in data_dir")
    serving_database: str = Field("", description="PgBouncer's name of the database for serving; empty: database_url's")
    data_dir: Path = Field(Path("./var"), description="Where the embedded Postgres and secrets are kept")
    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(8080, ge=1, le=65535, description="Port to listen on")
    admin_host: str = Field("127.0.0.1", description="Address that admin_port is on")
    admin_port: int | None = Field(
        None, ge=1, le=65535, description="Port for operators; port then has players' paths alone. Empty: all on port"
    )
    public_url: BaseUrl = Field("", description="Base URL of beacons; empty: http://host:port")
    workers: int = Field(2, ge=1, le=64, description="Server processes")
    admin_token: BearerToken = Field(SecretStr(""), description="Bearer token of the admin API; empty turns it off")
    secret_key: SecretStr = Field(SecretStr(""), description="Key of user keys and beacons; empty: kept in data_dir")
    retired_secret_keys: Secrets = Field((), description="Former secret keys whose beacons still count, with commas")
    trusted_proxies: Networks = Field((), description="Networks whose word on the viewer's IP and user agent counts")
    allowed_networks: Networks = Field(
        (), description="Private networks that names, wrappers and redirects may lead to"
    )
    client_requests_per_s: int = Field(
        100, ge=0, le=1_000_000, description="Requests, beacons and sessions of a client address; 0: no limit"
    )
    unlimited_networks: Networks = Field((), description="Networks without that limit, beside loopback and proxies")
    sessions_max: int = Field(1_000_000, ge=1, description="Viewing sessions in the database, about")
    stitcher_token: BearerToken = Field(SecretStr(""), description="Bearer token of POST /v1/ads, as is admin_token")
    beacon_ttl_s: int = Field(21_600, ge=60, le=604_800, description="How long after the serve a beacon counts")

    request_deadline_ms: int = Field(1500, ge=50, le=30_000, description="A request is answered within this")
    upstream_deadline_ms: int = Field(1000, ge=10, le=20_000, description="All upstream attempts of a request")
    group_max: int = Field(256, ge=1, le=1000, description="Requests in one transaction at the most")
    group_fetch_wait_ms: int = Field(60, ge=1, le=5000, description="How long a group waits for its fetches")
    queue_max: int = Field(2000, ge=1, le=100_000, description="Requests waiting in a lane before busy")
    serve_connections: int = Field(2, ge=1, le=32, description="Connections of the lane of ads in hand, each worker")
    fetch_connections: int = Field(8, ge=1, le=64, description="Connections of the fetching lane, each worker")
    beacon_connections: int = Field(2, ge=1, le=32, description="Connections that count beacons, each worker")
    beacon_queue_max: int = Field(10_000, ge=1, le=1_000_000, description="Beacons waiting before they are dropped")
    beacon_group_max: int = Field(512, ge=1, le=5000, description="Beacons counted in one transaction at the most")
    pool_connections: int = Field(5, ge=1, le=64, description="Other connections, each worker")

    lock_timeout_ms: int = Field(500, ge=1, le=20_000, description="A wait for a row becomes a no-fill after this")
    # These two together are the longest that a serving transaction may take, and stay below a minute: the rules of
    # midnight, and what is rolled up, count on that.
    statement_timeout_ms: int = Field(2000, ge=10, le=25_000, description="Of the serving connections")
    idle_in_transaction_timeout_ms: int = Field(
        3000, ge=10, le=25_000, description="Postgres ends a serving connection that is idle in transaction"
    )

    retention_days: int = Field(400, ge=35, le=3650, description="Days for which serves and beacons are kept")

    max_body_bytes: int = Field(1_048_576, ge=1024, le=4_194_304, description="Largest request body accepted")
    batch_max: int = Field(1000, ge=1, le=10_000, description="Requests in one POST /v1/ads")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Least level logged")
    metrics_dir: Path | None = Field(None, description="Prometheus multiprocess files; empty: below data_dir")

    @model_validator(mode="after")
    def deadlines_nest(self) -> Self:
        """A transaction that waits for an upstream must end before Postgres ends it."""
        if self.upstream_deadline_ms >= self.idle_in_transaction_timeout_ms:
            raise ValueError("ADSERVER_UPSTREAM_DEADLINE_MS must be less than ADSERVER_IDLE_IN_TRANSACTION_TIMEOUT_MS")
        if self.upstream_deadline_ms > self.request_deadline_ms:
            raise ValueError("ADSERVER_UPSTREAM_DEADLINE_MS must not exceed ADSERVER_REQUEST_DEADLINE_MS")
        if self.group_fetch_wait_ms > self.upstream_deadline_ms:
            raise ValueError("ADSERVER_GROUP_FETCH_WAIT_MS must not exceed ADSERVER_UPSTREAM_DEADLINE_MS")
        return self

    @model_validator(mode="after")
    def admin_port_is_another(self) -> Self:
        """The port that a request came in on decides what it may ask for."""
        if self.admin_port == self.port:
            raise ValueError("ADSERVER_ADMIN_PORT must differ from ADSERVER_PORT")
        if self.admin_port is None and "admin_host" in self.model_fields_set:
            raise ValueError("ADSERVER_ADMIN_HOST must be set together with ADSERVER_ADMIN_PORT")
        return self

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Hosts and ports to listen on, the players' first."""
        public = (self.host, self.port)
        return (public,) if self.admin_port is None else (public, (self.admin_host, self.admin_port))

    @property
    def exposed_host(self) -> str | None:
        """An address to listen on that other machines may reach; None if all are loopback addresses."""
        return next((host for host, _ in self.addresses if not _is_loopback(host)), None)

    @property
    def listens_on_all_addresses(self) -> bool:
        """Whether host is a wildcard, which no player can connect to."""
        address = _address(self.host)
        return address is not None and address.is_unspecified

    @property
    def connections_max(self) -> int:
        """How many connections to the database the workers open together, at the most."""
        serving = self.serve_connections + self.fetch_connections + self.beacon_connections
        return self.workers * (serving + self.pool_connections)

    @property
    def beacon_base_url(self) -> str:
        """What beacon and click URLs start with, without a trailing slash."""
        return (self.public_url or http_url(self.host, self.port)).rstrip("/")

    @property
    def admin_base_url(self) -> str:
        """What URLs of the demo and the console start with, without a trailing slash."""
        return self.beacon_base_url if self.admin_port is None else http_url(self.admin_host, self.admin_port)
