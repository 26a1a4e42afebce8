"""One URL, as a host hands it out, for all that connect by it: migrations, the server's pools, commands and psql."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
from sqlalchemy.engine import make_url

from app.embedded import EmbeddedPostgres
from app.launch.migrate import migrate
from app.store.connections import connect
from tests.campaigns import own_campaign, set_up
from tests.integration.serves import open_store
from tests.launched import ADSERVER, adserver, environment
from tests.players import Players, serving
from tests.postgres import administering

PARAMETERS = (
    "sslmode=prefer&channel_binding=prefer",
    "connect_timeout=10",
    "pgbouncer=true",
    "pgbouncer=true&connection_limit=1&pool_timeout=20&schema=public",
    "gssencmode=disable&keepalives=1&keepalives_idle=30&keepalives_interval=10&keepalives_count=3",
    "target_session_attrs=read-write&application_name=ours&client_encoding=utf8",
    "options=-c%20work_mem%3D8MB",
    "supa=base-pooler.x&statement_cache_mode=describe&sslmode=disable",
    "sslmode=&",
)
NAMES = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = current_database() AND pid <> $1"


@pytest.fixture
async def empty_database(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The URL of a database that was never migrated, over TCP."""
    async with administering(postgres) as connection:
        await connection.execute("CREATE DATABASE from_a_host")
    yield over_tcp(postgres.url("from_a_host"))
    async with administering(postgres) as connection:
        await connection.execute("DROP DATABASE from_a_host WITH (FORCE)")


def over_tcp(url: str) -> str:
    ours = make_url(url)
    login = f"{ours.username}:{quote(ours.password or '', safe='')}"
    return f"postgresql://{login}@127.0.0.1:{ours.query['port']}/{ours.database}"


@pytest.mark.parametrize("parameters", PARAMETERS)
async def test_each_reader_of_a_url_takes_its_parameters(parameters: str, database: str) -> None:
    url = f"{over_tcp(database)}?{parameters}"
    await asyncio.to_thread(migrate, url)
    store = open_store(url)
    async with store.serving_connection() as serving_one, store.connection() as other, connect(url) as one:
        for connection in (serving_one, other, one):
            assert await connection.fetchval("SELECT current_database()") == make_url(database).database
        names = {row["application_name"] for row in await one.fetch(NAMES, one.get_server_pid())}
        work_mem = await one.fetchval("SHOW work_mem")
    await store.close()
    assert names == ({"ours"} if "application_name" in parameters else {"adserver", "adserver-serving"})
    assert work_mem == ("8MB" if "work_mem" in parameters else "4MB")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
async def test_commands_and_psql_take_the_url_of_a_host(
    scheme: str, empty_database: str, postgres: EmbeddedPostgres
) -> None:
    parameters = "sslmode=prefer&channel_binding=prefer&connect_timeout=10&pgbouncer=true&connection_limit=1"
    url = f"{empty_database}?{parameters}".replace("postgresql", scheme, 1)
    migrated = await asyncio.to_thread(adserver, "migrate", DATABASE_URL=url)
    assert migrated.returncode == 0, migrated.stderr
    ignored = [line for line in migrated.stderr.splitlines() if "ignored" in line]
    assert len(ignored) == 1
    assert "channel_binding, connection_limit" in ignored[0]
    dsn = (await asyncio.to_thread(adserver, "dsn", DATABASE_URL=url)).stdout.strip()
    psql = [postgres.programs / "psql", dsn, "--no-psqlrc", "-Atc", "SELECT current_database()"]
    done = await asyncio.to_thread(subprocess.run, psql, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("from_a_host\n", "")
    alembic = [ADSERVER.with_name("alembic"), "current"]
    current = await asyncio.to_thread(
        subprocess.run, alembic, env=environment(DATABASE_URL=url), capture_output=True, text=True, check=False
    )
    assert "(head)" in current.stdout


async def test_ads_are_served_by_the_url_of_a_host(database: str, app_database: str) -> None:
    await set_up(database, own_campaign("own", cpm="1000", budgets={"lifetime": "5"}))
    url = f"{over_tcp(app_database)}?sslmode=prefer&channel_binding=prefer&pgbouncer=true"
    async with serving(url.replace("postgresql", "postgres", 1)) as server, Players(server.url) as players:
        answers = await players.ask_all({"campaign_id": "own"} for _ in range(20))
        assert [answer.filled for answer in answers].count(True) == 5


async def test_a_pooled_connection_leaves_no_prepared_statement_behind(app_database: str) -> None:
    """Behind a pooler the next transaction may run on another connection, where the statement is not prepared."""
    for parameters, kept in (("", True), ("?pgbouncer=true", False)):
        store = open_store(f"{over_tcp(app_database)}{parameters}")
        async with store.connection() as connection:
            for _ in range(2):
                assert await connection.fetchval("SELECT $1::int", 7) == 7
            prepared = await connection.fetchval("SELECT count(*) FROM pg_prepared_statements")
        await store.close()
        assert bool(prepared) == kept


def test_a_wrong_value_is_one_line_that_names_the_parameter() -> None:
    done = adserver("migrate", DATABASE_URL="postgres://u:s3cret@127.0.0.1/db?connect_timeout=soon")
    assert (done.returncode, done.stderr) == (
        2,
        "adserver: ADSERVER_DATABASE_URL: connect_timeout: must be an integer\n",
    )
