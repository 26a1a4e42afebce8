"""Database URLs of hosting providers, and the use of their parameters."""

from pathlib import Path

import pytest

from app.store.database_url_parameters import InvalidUrl, parse_url


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("postgres://u:p@h:1/db", "postgresql://u:p@h:1/db"),
        ("postgresql+asyncpg://u:p@h/db?ssl=require", "postgresql://u:p@h/db?sslmode=require"),
        ("postgresql+psycopg2://u:p@h/db", "postgresql://u:p@h/db"),
        (" POSTGRES://u:p@h/db?ssl=true\n", "postgresql://u:p@h/db?sslmode=require"),
        ("postgresql:///db?host=/run/pg&user=u", "postgresql:///db?host=%2Frun%2Fpg&user=u"),
        ("postgresql:///db?hostaddr=192.0.2.1", "postgresql:///db?host=192.0.2.1"),
        ("postgresql://h/db?hostaddr=192.0.2.1", "postgresql://h/db"),
        ("postgresql://h/db?sslmode=require&channel_binding=require", "postgresql://h/db?sslmode=require"),
        ("postgresql://h/db?options=endpoint%3Dep-1", "postgresql://h/db?options=endpoint%3Dep-1"),
        ("postgresql://h/db?options=-c%20work_mem=9MB", "postgresql://h/db?options=-c%20work_mem%3D9MB"),
        ("postgresql://h/db?supa=base-pooler.x&pgbouncer=true&connection_limit=1", "postgresql://h/db"),
        ("postgresql://h/db?schema=public&pool_timeout=0&statement_cache_mode=describe", "postgresql://h/db"),
        ("postgresql://h/db?keepalives=1&keepalives_idle=30&gssencmode=disable", "postgresql://h/db"),
        ("postgresql://h/db?sslmode=&password=a+b&&application_name=x", "postgresql://h/db?password=a%2Bb&application_name=x"),
        ("postgresql://h/db?sslmode=disable&sslmode=require", "postgresql://h/db?sslmode=require"),
        ("postgresql://h1:1,h2:2/db?target_session_attrs=primary", "postgresql://h1:1,h2:2/db?target_session_attrs=primary"),
    ],
)  # fmt: skip
def test_the_driver_url_has_only_parameters_of_the_driver(given: str, driver: str) -> None:
    assert parse_url(given).driver_url == driver


@pytest.mark.parametrize(
    ("given", "psql"),
    [
        ("postgres://u:p@h:1/db", "postgresql://u:p@h:1/db"),
        ("postgresql+asyncpg://u:p@h/db?ssl=require&pgbouncer=true", "postgresql://u:p@h/db?sslmode=require"),
        (
            "postgresql://h/db?channel_binding=require&connect_timeout=10&keepalives=1&schema=x&jit=off",
            "postgresql://h/db?channel_binding=require&connect_timeout=10&keepalives=1",
        ),
    ],
)
def test_the_psql_url_has_only_parameters_of_psql(given: str, psql: str) -> None:
    assert parse_url(given).psql_url == psql


@pytest.mark.parametrize(
    ("query", "timeout_s"),
    [("connect_timeout=10", 10), ("connect_timeout=0", None), ("connect_timeout=-1", None), ("sslmode=prefer", None)],
)
def test_the_connect_timeout_is_read(query: str, timeout_s: float | None) -> None:
    assert parse_url(f"postgresql://h/db?{query}").connect_timeout_s == timeout_s


@pytest.mark.parametrize(
    ("query", "cached"),
    [
        ("pgbouncer=true", False),
        ("pgbouncer=1", False),
        ("statement_cache_size=0", False),
        ("prepared_statement_cache_size=0", False),
        ("pgbouncer=false", True),
        ("statement_cache_size=500", True),
        ("sslmode=prefer", True),
    ],
)
def test_statements_are_cached_unless_connections_are_pooled(query: str, cached: bool) -> None:
    assert parse_url(f"postgresql://h/db?{query}").caches_statements == cached


def test_system_certificates_replace_a_certificate_file(tmp_path: Path) -> None:
    url = parse_url("postgresql://h/db?sslrootcert=system")
    assert url.trusts_system
    assert url.driver_url == "postgresql://h/db?sslmode=verify-full"
    (tmp_path / "ca.pem").touch()
    assert not parse_url(f"postgresql://h/db?sslmode=verify-ca&sslrootcert={tmp_path}/ca.pem").trusts_system


@pytest.mark.parametrize(
    "url", ["postgresql://u:s3cret?connect_timeout=s3cret@h/db", "postgresql://u:s3cret/w@h/db", "s3cret"]
)
def test_an_error_repeats_no_part_of_the_url(url: str) -> None:
    with pytest.raises(InvalidUrl) as caught:
        parse_url(url)
    assert "s3cret" not in str(caught.value)
