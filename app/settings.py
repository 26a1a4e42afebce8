"""Settings, read from environment variables with the prefix `ADSERVER_`."""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _split(value: str) -> list[str]:
    """Return the items of a comma-separated list."""
    return [item.strip() for item in value.split(",") if item.strip()]


def _secrets(value: object) -> object:
    """Return the secrets of a comma-separated list."""
    return _split(value) if isinstance(value, str) else value


def _networks(value: object) -> object:
    """Return the networks of a comma-separated list. Raises ValueError, which names the invalid one."""
    return [ip_network(item) for item in _split(value)] if isinstance(value, str) else value


def _base_url(value: str) -> str:
    """Return the value if it is empty or a URL to which paths can be appended. Raises ValueError."""
    url = urlsplit(value)
    is_web_address = url.scheme in ("http", "https") and url.hostname and url.port != 0
    if value and (not is_web_address or re.search(r"[\s?#]", value)):
        raise ValueError("must be an http or https URL with a host and without spaces, query or fragment")
    return value


def _bearer_token(value: SecretStr) -> SecretStr:
    """Return the value if a header can carry it, for example without a file's final line feed. Raises ValueError."""
    if not re.fullmatch("[!-~]*", value.get_secret_value()):
        raise ValueError("must be ASCII without spaces or control characters")
    return value


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """Return the host as an address; None if it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    """Whether only this machine can connect to the host; the only such name is localhost (RFC 6761)."""
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def http_url(host: str, port: int) -> str:
    """Return the root URL of a server, without a trailing slash."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


BaseUrl = Annotated[str, AfterValidator(_base_url)]
BearerToken = Annotated[SecretStr, AfterValidator(_bearer_token)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_networks)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_secrets)]


class Settings(BaseSettings):
    """All settings; names of quantities end in the unit. docs/settings.md lists them."""

    # Compose files and unit files pass an unset variable as an empty one.
    model_config = SettingsConfigDict(env_prefix="ADSERVER_", env_ignore_empty=True, frozen=True, extra="ignore")

    database_url: str = Field("", description="Postgres connection URL; empty: embedded Postgres in data_dir")
    serving_database: str = Field("", description="Database name at PgBouncer for serving; empty: as in database_url")
    data_dir: Path = Field(Path("./var"), description="Directory of the embedded Postgres and generated secrets")
    host: str = Field("127.0.0.1", description="Listen address")
    port: int = Field(8080, ge=1, le=65535, description="Listen port")
    admin_host: str = Field("127.0.0.1", description="Listen address of admin_port")
    admin_port: int | None = Field(
        None, ge=1, le=65535, description="Listen port for operators, closed to players; empty: operators use port too"
    )
    public_url: BaseUrl = Field("", description="Base URL of beacons and clicks; empty: http://host:port")
    workers: int = Field(2, ge=1, le=64, description="Server processes")
    admin_token: BearerToken = Field(SecretStr(""), description="Bearer token of the admin API; empty: API disabled")
    secret_key: SecretStr = Field(
        SecretStr(""), description="Secret for user keys and beacon tokens; empty: generated in data_dir"
    )
    retired_secret_keys: Secrets = Field(
        (), description="Former secret keys whose beacons are still accepted, comma-separated"
    )
    trusted_proxies: Networks = Field((), description="Trusted proxy networks (CIDR), comma-separated")
    allowed_networks: Networks = Field(
        (),
        description="Private networks (CIDR) that host names, wrappers, redirects and checks of creatives may reach, "
        "comma-separated",
    )
    webhook_private_networks: Networks = Field(
        (), description="Private networks (CIDR) that webhooks may reach, comma-separated"
    )
    client_requests_per_s: int = Field(
        100,
        ge=0,
        le=1_000_000,
        description="Maximum requests, beacons and sessions per second and client address; 0: no limit",
    )
    unlimited_networks: Networks = Field(
        (),
        description="Networks (CIDR) exempt from client_requests_per_s, besides loopback and proxies, comma-separated",
    )
    sessions_max: int = Field(1_000_000, ge=1, description="Approximate maximum of stored viewing sessions")
    stitcher_token: BearerToken = Field(
        SecretStr(""), description="Additional bearer token of POST /v1/ads; empty: only admin_token"
    )
    beacon_ttl_s: int = Field(21_600, ge=60, le=604_800, description="Beacon lifetime after the serve, in seconds")

    request_deadline_ms: int = Field(1500, ge=50, le=30_000, description="Maximum time to answer an ad request")
    upstream_deadline_ms: int = Field(
        1000, ge=10, le=20_000, description="Maximum time for all upstream attempts of a request"
    )
    group_max: int = Field(256, ge=1, le=1000, description="Maximum requests per transaction")
    group_fetch_wait_ms: int = Field(
        60, ge=1, le=5000, description="Maximum time that a group waits for its upstream fetches"
    )
    queue_max: int = Field(2000, ge=1, le=100_000, description="Maximum queued requests per lane")
    serve_connections: int = Field(2, ge=1, le=32, description="Database connections of the serve lane, per worker")
    fetch_connections: int = Field(8, ge=1, le=64, description="Database connections of the fetch lane, per worker")
    beacon_connections: int = Field(2, ge=1, le=32, description="Database connections of the beacon lane, per worker")
    beacon_queue_max: int = Field(10_000, ge=1, le=1_000_000, description="Maximum queued beacons, per worker")
    beacon_group_max: int = Field(512, ge=1, le=5000, description="Maximum beacons per transaction")
    pool_connections: int = Field(5, ge=1, le=64, description="Database connections for everything else, per worker")

    lock_timeout_ms: int = Field(500, ge=1, le=20_000, description="Maximum wait for a row lock while serving")
    # The sum of these two bounds the duration of a serving transaction. It must stay below a minute: the midnight rules
    # and the rollup rely on that.
    statement_timeout_ms: int = Field(2000, ge=10, le=25_000, description="Maximum duration of a serving statement")
    idle_in_transaction_timeout_ms: int = Field(
        3000, ge=10, le=25_000, description="Maximum idle time within a serving transaction"
    )

    retention_days: int = Field(
        400, ge=35, le=3650, description="Retention of serves, beacons and hourly delivery, in days"
    )

    budget_days: int = Field(
        35, ge=10, le=3650, description="Days after which ended hours and days of budgets are archived"
    )

    geoip_file: Path | None = Field(
        None, description="MMDB file that tells country, region, city and timezone of an address; empty: none"
    )

    max_body_bytes: int = Field(1_048_576, ge=1024, le=4_194_304, description="Maximum request body size, in bytes")
    batch_max: int = Field(1000, ge=1, le=10_000, description="Maximum ad requests in one POST /v1/ads")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Minimum log level")
    metrics_dir: Path | None = Field(
        None, description="Directory of the Prometheus multiprocess files; empty: in data_dir"
    )

    @model_validator(mode="after")
    def deadlines_nest(self) -> Self:
        """Reject deadlines that would let Postgres end a transaction that waits for an upstream."""
        if self.upstream_deadline_ms >= self.idle_in_transaction_timeout_ms:
            raise ValueError("ADSERVER_UPSTREAM_DEADLINE_MS must be less than ADSERVER_IDLE_IN_TRANSACTION_TIMEOUT_MS")
        if self.upstream_deadline_ms > self.request_deadline_ms:
            raise ValueError("ADSERVER_UPSTREAM_DEADLINE_MS must not exceed ADSERVER_REQUEST_DEADLINE_MS")
        if self.group_fetch_wait_ms > self.upstream_deadline_ms:
            raise ValueError("ADSERVER_GROUP_FETCH_WAIT_MS must not exceed ADSERVER_UPSTREAM_DEADLINE_MS")
        return self

    @model_validator(mode="after")
    def admin_port_differs(self) -> Self:
        """Reject an admin_port that cannot separate operators from players."""
        if self.admin_port == self.port:
            raise ValueError("ADSERVER_ADMIN_PORT must differ from ADSERVER_PORT")
        if self.admin_port is None and "admin_host" in self.model_fields_set:
            raise ValueError("ADSERVER_ADMIN_HOST must be set together with ADSERVER_ADMIN_PORT")
        return self

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Hosts and ports to listen on; the one for players is first."""
        public = (self.host, self.port)
        return (public,) if self.admin_port is None else (public, (self.admin_host, self.admin_port))

    @property
    def exposed_host(self) -> str | None:
        """A listen address that other machines can reach; None if all are loopback addresses."""
        return next((host for host, _ in self.addresses if not _is_loopback(host)), None)

    @property
    def listens_on_all_addresses(self) -> bool:
        """Whether host is a wildcard address, to which players cannot connect."""
        address = _address(self.host)
        return address is not None and address.is_unspecified

    @property
    def connections_max(self) -> int:
        """Maximum database connections of all workers together."""
        serving = self.serve_connections + self.fetch_connections + self.beacon_connections
        return self.workers * (serving + self.pool_connections)

    @property
    def beacon_base_url(self) -> str:
        """Base URL of beacons and clicks, without a trailing slash."""
        return (self.public_url or http_url(self.host, self.port)).rstrip("/")

    @property
    def admin_base_url(self) -> str:
        """Base URL of the demo and the console, without a trailing slash."""
        return self.beacon_base_url if self.admin_port is None else http_url(self.admin_host, self.admin_port)
