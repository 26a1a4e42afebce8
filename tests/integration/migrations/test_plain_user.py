"""Migrations by a user who is no superuser, after a superuser has created the roles."""

import asyncio

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from app.errors import StoreUnavailable
from app.launch.migrate import migrate, require_schema
from app.store.connections import connect
from app.store.revision import MIGRATIONS
from tests.postgres import temporary_postgres

NOT_OWNED = """
SELECT count(*) FROM pg_class WHERE relnamespace IN ('public'::regnamespace, 'finance'::regnamespace)
    AND relkind IN ('r', 'p', 'v') AND relowner <> 'adserver_owner'::regrole
"""


async def run(url: str, *statements: str) -> None:
    async with connect(url) as connection:
        for statement in statements:
            await connection.execute(statement)


async def count_not_owned(url: str) -> int:
    async with connect(url) as connection:
        count: int = await connection.fetchval(NOT_OWNED)
    return count


async def settings_of(url: str, role: str) -> list[str]:
    async with connect(url) as connection:
        settings: list[str] = await connection.fetchval("SELECT rolconfig FROM pg_roles WHERE rolname = $1", role)
    return settings


async def refused(url: str, statement: str) -> bool:
    async with connect(url) as connection:
        try:
            await connection.execute(statement)
        except asyncpg.InsufficientPrivilegeError:
            return True
    return False


def test_the_owner_of_a_database_migrates_it_when_the_roles_are_there() -> None:
    with temporary_postgres() as server:
        create = ("CREATE ROLE deployer LOGIN PASSWORD 'secret'", "CREATE DATABASE ads OWNER deployer")
        asyncio.run(run(server.dsn, *create))
        deployer = make_url(server.url("ads")).set(username="deployer", password="secret")
        url = deployer.render_as_string(hide_password=False)
        with pytest.raises(
            StoreUnavailable, match=r"deployer may not create it: let a superuser run migrations/roles\.sql"
        ):
            migrate(url)
        roles = (MIGRATIONS / "roles.sql").read_text()
        asyncio.run(run(server.dsn, roles, roles, "GRANT adserver_owner TO deployer"))
        migrate(url)
        require_schema(url)
        assert asyncio.run(count_not_owned(url)) == 0
        assert asyncio.run(refused(url, "ALTER ROLE adserver_finance SET statement_timeout = 0"))


def test_objects_of_others_in_the_schema_keep_their_owner() -> None:
    with temporary_postgres() as server:
        create = ("CREATE ROLE deployer LOGIN PASSWORD 'secret'", "CREATE DATABASE ads OWNER deployer")
        roles = (MIGRATIONS / "roles.sql").read_text()
        asyncio.run(run(server.dsn, *create, roles, "GRANT adserver_owner TO deployer"))
        foreign = (
            "CREATE TABLE public.notes (note text)",
            "CREATE FUNCTION public.activity() RETURNS bigint LANGUAGE sql RETURN 1",
        )
        asyncio.run(run(server.url("ads"), *foreign))
        deployer = make_url(server.url("ads")).set(username="deployer", password="secret")
        url = deployer.render_as_string(hide_password=False)
        migrate(url)
        require_schema(url)
        assert asyncio.run(count_not_owned(url)) == 1


def test_finance_keeps_limits_that_a_dba_set_and_the_server_gets_its_minute_back() -> None:
    with temporary_postgres() as server:
        create = ("CREATE ROLE deployer LOGIN PASSWORD 'secret'", "CREATE DATABASE ads OWNER deployer")
        roles = (MIGRATIONS / "roles.sql").read_text()
        changes = (
            "ALTER ROLE adserver_finance SET statement_timeout = '30min'",
            "ALTER ROLE adserver_app SET transaction_timeout = 0",
        )
        asyncio.run(run(server.dsn, *create, roles, *changes, roles, "GRANT adserver_owner TO deployer"))
        deployer = make_url(server.url("ads")).set(username="deployer", password="secret")
        migrate(deployer.render_as_string(hide_password=False))
        assert "statement_timeout=30min" in asyncio.run(settings_of(server.dsn, "adserver_finance"))
        assert "transaction_timeout=1min" in asyncio.run(settings_of(server.dsn, "adserver_app"))
