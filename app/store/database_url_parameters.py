"""Parse the parameters of database URLs: those for the driver, for psql, for this server, and all others.

Hosting providers hand out URLs of libpq, often with parameters of other drivers and poolers. (See "Connection URIs" and
"Parameter Key Words" in the Postgres manual, chapter "libpq".) The driver would send unknown parameters to Postgres as
run-time parameters, and Postgres would refuse the connection.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

SCHEME = re.compile(r"postgres(ql)?(\+[a-z0-9]+)?://", re.IGNORECASE)
"""The scheme, with or without a driver's name as in URLs of SQLAlchemy."""

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
"""Parameters of asyncpg, which have the same names in libpq."""

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
"""Parameters that are sent to Postgres: two of libpq, and session settings that only this driver accepts in a URL."""

PSQL_RUN_TIME = frozenset({"application_name", "options"})
"""Parameters that psql sends to Postgres."""

LIBPQ_ONLY = frozenset(
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
"""Parameters that psql accepts and the driver does not."""

STATEMENT_CACHES = ("statement_cache_size", "prepared_statement_cache_size")
"""The names in asyncpg and SQLAlchemy for the number of prepared statements that a connection keeps."""

APPLIED = frozenset({"connect_timeout", "pgbouncer", *STATEMENT_CACHES})
"""Parameters that `DatabaseUrl` carries and `open_connection` passes to the driver as arguments."""

CHOICES = {
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer"),
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
}
"""Accepted values; the driver does not support GSSAPI encryption, so `gssencmode=require` is not one of them."""

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
"""Value of `sslrootcert` for the root certificates of the operating system, as in libpq 16 and later."""


class InvalidUrl(ValueError):
    """A URL is invalid; the message repeats no part of it, because that could be the password."""


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A parsed database URL, in the form that each program accepts."""

    driver_url: str
    """The URL with the parameters of asyncpg."""
    psql_url: str
    """The URL with the parameters of psql."""
    connect_timeout_s: float | None
    """None if the URL sets no limit; libpq's 0 sets none either."""
    application_name: str | None
    """The name in `pg_stat_activity`; None for the server's own names."""
    caches_statements: bool
    """Whether statements may be prepared: False behind a pooler that shares server connections between transactions."""
    trusts_system: bool
    """Whether to verify Postgres with the root certificates of the operating system."""
    ignored: tuple[str, ...]
    """Names of parameters without effect."""


@lru_cache(maxsize=64)
def parse_url(url: str) -> DatabaseUrl:
    """Parse a database URL; raises InvalidUrl, which names the parameter if its value is wrong."""
    url = url.strip()
    if not SCHEME.match(url):
        raise InvalidUrl("must begin with postgresql:// or postgres://")
    try:
        parts = urlsplit(url)
        hosts = parts.netloc.rpartition("@")[2].split(",")
        for host in hosts:
            _ = urlsplit(f"//{host}").port
    except ValueError:
        raise InvalidUrl("is not a valid URL") from None
    given = _read_parameters(parts.query)
    if "hostaddr" in given and "host" not in given and not any(hosts):
        given["host"] = given.pop("hostaddr")
    _check_parameters(given)
    base = f"postgresql://{parts.netloc}{parts.path}"
    trusts_system = given.get("sslrootcert") == SYSTEM_CERTIFICATES
    driver_parameters = {name: value for name, value in given.items() if name in DRIVER | RUN_TIME}
    if trusts_system:
        del driver_parameters["sslrootcert"]
    psql_parameters = {name: value for name, value in given.items() if name in DRIVER | PSQL_RUN_TIME | LIBPQ_ONLY}
    timeout_s = int(given.get("connect_timeout", 0))
    return DatabaseUrl(
        driver_url=_add_query(base, driver_parameters),
        psql_url=_add_query(base, psql_parameters),
        connect_timeout_s=timeout_s if timeout_s > 0 else None,
        application_name=given.get("application_name"),
        caches_statements=_caches_statements(given),
        trusts_system=trusts_system,
        ignored=tuple(name for name in given if name not in DRIVER | RUN_TIME | APPLIED),
    )


def _read_parameters(query: str) -> dict[str, str]:
    """Return the last value of each name, as libpq does; skip empty values, and replace JDBC's `ssl` by `sslmode`."""
    words = (word.partition("=") for word in query.split("&"))
    given = {unquote(name): unquote(value) for name, _, value in words if value}
    if "ssl" in given:
        value = given.pop("ssl").lower()
        mode = "require" if value in TRUE else "disable" if value in FALSE else value
        if mode not in CHOICES["sslmode"]:
            raise InvalidUrl("ssl: must be true, false or a value of sslmode")
        given.setdefault("sslmode", mode)
    return given


def _check_parameters(given: dict[str, str]) -> None:
    for name, accepted in CHOICES.items():
        if given.get(name, accepted[0]) not in accepted:
            raise InvalidUrl(f"{name}: must be one of {', '.join(accepted)}")
    for name in INTEGERS:
        if not re.fullmatch(r"[-+]?\d{1,9}", given.get(name, "0").strip()):
            raise InvalidUrl(f"{name}: must be an integer")
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
            raise InvalidUrl(f"{name}: the file does not exist")


def _caches_statements(given: dict[str, str]) -> bool:
    pooled = given.get("pgbouncer", "false").lower() in TRUE
    return not pooled and all(int(given.get(name, 1)) != 0 for name in STATEMENT_CACHES)


def _add_query(base: str, given: dict[str, str]) -> str:
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in given.items())
    return f"{base}?{query}" if query else base
