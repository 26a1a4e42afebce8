"""Parameters of database URLs as hosts hand them out: what the driver takes, what we do ourselves, and the rest.

A URL is libpq's (see "Connection URIs" and "Parameter Key Words" in the Postgres manual, chapter "libpq"), often with
what other drivers and poolers add. The driver sends what it does not know to Postgres as a run-time parameter, and
Postgres refuses the connection.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

SCHEME = re.compile(r"postgres(ql)?(\+[a-z0-9]+)?://", re.IGNORECASE)
"""With what names a driver, as SQLAlchemy has it."""

# The driver's words for them are libpq's.
DRIVER = frozenset(
    {
        "host",
        "port",
        "dbname",
        "database",
        "user",
        "password",
        "passfile",
        "service",
        "sslmode",
        "sslcert",
        "sslkey",
        "sslrootcert",
        "sslcrl",
        "sslpassword",
        "sslnegotiation",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
        "target_session_attrs",
        "krbsrvname",
        "gsslib",
    }
)
RUN_TIME = frozenset(
    {
        "application_name",
        "options",
        "search_path",
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "transaction_timeout",
        "timezone",
        "jit",
        "work_mem",
    }
)
"""What is sent to Postgres: libpq's two, and settings of a session that only this driver takes from a URL."""

RUN_TIME_OF_PSQL = frozenset({"application_name", "options"})

LIBPQ_ALONE = frozenset(
    {
        "channel_binding",
        "connect_timeout",
        "client_encoding",
        "fallback_application_name",
        "gssdelegation",
        "gssencmode",
        "hostaddr",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "load_balance_hosts",
        "max_protocol_version",
        "min_protocol_version",
        "oauth_client_id",
        "oauth_client_secret",
        "oauth_issuer",
        "oauth_scope",
        "replication",
        "require_auth",
        "requirepeer",
        "scram_client_key",
        "scram_server_key",
        "servicefile",
        "sslcertmode",
        "sslcompression",
        "sslcrldir",
        "sslkeylogfile",
        "sslsni",
        "tcp_user_timeout",
    }
)
"""What psql takes and the driver does not."""

STATEMENT_CACHES = ("statement_cache_size", "prepared_statement_cache_size")
"""asyncpg's and SQLAlchemy's name for how many prepared statements a connection keeps."""

OBEYED = frozenset({"connect_timeout", "pgbouncer", *STATEMENT_CACHES})
"""Parameters that the driver gets by other means."""

CHOICES = {
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer"),
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
}
"""Values that are accepted; GSSAPI, which `gssencmode=require` asks for, is beyond the driver."""

TRUE, FALSE = ("1", "on", "t", "true", "yes"), ("0", "off", "f", "false", "no")
INTEGERS = (
    "connect_timeout",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "tcp_user_timeout",
    *STATEMENT_CACHES,
)
FILES = ("sslcert", "sslcrl", "sslkey", "sslrootcert")
SYSTEM_CERTIFICATES = "system"
"""In place of a file of root certificates: those of the operating system, since libpq 16."""


class InvalidUrl(ValueError):
    """What is wrong with a URL, without a part of it, which may be the password."""


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A URL, read for each program that connects by it."""

    driver_url: str
    """With the parameters that asyncpg takes."""
    psql_url: str
    """With the parameters that psql takes."""
    connect_timeout_s: float | None
    """None if the URL leaves it to us; so does libpq's 0, which is no limit."""
    application_name: str | None
    """What `pg_stat_activity` is to say in place of our own names."""
    caches_statements: bool
    """False behind a pooler whose server connections are shared between transactions."""
    trusts_system: bool
    """Whether the operating system's certificates decide whom to trust."""
    ignored: tuple[str, ...]
    """Names of parameters that change nothing here."""


@lru_cache(maxsize=64)
def parse_url(url: str) -> DatabaseUrl:
    """Raises InvalidUrl for a URL that cannot be read, and, naming it, for a parameter with a wrong value."""
    url = url.strip()
    if not SCHEME.match(url):
        raise InvalidUrl("must begin with postgresql:// or postgres://")
    try:
        parts = urlsplit(url)
        hosts = parts.netloc.rpartition("@")[2].split(",")
        for host in hosts:
            _ = urlsplit(f"//{host}").port
    except ValueError:
        raise InvalidUrl("is not a URL that can be read") from None
    given = _parameters(parts.query)
    if "hostaddr" in given and "host" not in given and not any(hosts):
        given["host"] = given.pop("hostaddr")
    _check(given)
    base = f"postgresql://{parts.netloc}{parts.path}"
    trusts_system = given.get("sslrootcert") == SYSTEM_CERTIFICATES
    to_driver = {name: value for name, value in given.items() if name in DRIVER | RUN_TIME}
    if trusts_system:
        del to_driver["sslrootcert"]
    to_psql = {name: value for name, value in given.items() if name in DRIVER | RUN_TIME_OF_PSQL | LIBPQ_ALONE}
    timeout_s = int(given.get("connect_timeout", 0))
    return DatabaseUrl(
        driver_url=_with_query(base, to_driver),
        psql_url=_with_query(base, to_psql),
        connect_timeout_s=timeout_s if timeout_s > 0 else None,
        application_name=given.get("application_name"),
        caches_statements=_caches_statements(given),
        trusts_system=trusts_system,
        ignored=tuple(name for name in given if name not in DRIVER | RUN_TIME | OBEYED),
    )


def _parameters(query: str) -> dict[str, str]:
    """The last of each name, as with libpq. An empty value is none, and JDBC's `ssl=true` is `sslmode=require`."""
    words = (word.partition("=") for word in query.split("&"))
    given = {unquote(name): unquote(value) for name, _, value in words if value}
    if "ssl" in given:
        value = given.pop("ssl").lower()
        mode = "require" if value in TRUE else "disable" if value in FALSE else value
        if mode not in CHOICES["sslmode"]:
            raise InvalidUrl("ssl: must be true, false or a value of sslmode")
        given.setdefault("sslmode", mode)
    return given


def _check(given: dict[str, str]) -> None:
    for name, accepted in CHOICES.items():
        if given.get(name, accepted[0]) not in accepted:
            raise InvalidUrl(f"{name}: must be one of {', '.join(accepted)}")
    for name in INTEGERS:
        if not re.fullmatch(r"[-+]?\d{1,9}", given.get(name, "0").strip()):
            raise InvalidUrl(f"{name}: must be a whole number")
    if given.get("pgbouncer", "true").lower() not in (*TRUE, *FALSE):
        raise InvalidUrl("pgbouncer: must be true or false")
    if not re.fullmatch(r"\d+(,\d+)*", given.get("port", "0")):
        raise InvalidUrl("port: must be a number")
    _check_certificates(given)


def _check_certificates(given: dict[str, str]) -> None:
    if given.get("sslrootcert") == SYSTEM_CERTIFICATES:
        if given.setdefault("sslmode", "verify-full") != "verify-full":
            raise InvalidUrl("sslmode: must be verify-full with sslrootcert=system")
        return
    for name in FILES:
        if name in given and not Path(given[name]).is_file():
            raise InvalidUrl(f"{name}: the file is not there")


def _caches_statements(given: dict[str, str]) -> bool:
    pooled = given.get("pgbouncer", "false").lower() in TRUE
    return not pooled and all(int(given.get(name, 1)) != 0 for name in STATEMENT_CACHES)


def _with_query(base: str, given: dict[str, str]) -> str:
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in given.items())
    return f"{base}?{query}" if query else base
