"""The server behind the PgBouncer of deploy/pgbouncer, compared with direct connections."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from asyncpg import Connection, Record
from sqlalchemy.engine import make_url

from tests.campaigns import own_campaign, set_up
from tests.integration.serves import open_store
from tests.launched import eventually, free_port
from tests.players import Players, serving
from tests.postgres import PREFIX, TEMPORARY

INI = Path(__file__).parents[2] / "deploy" / "pgbouncer" / "adserver.ini"
PROGRAM = shutil.which("pgbouncer")
KEEPS_PREPARED_STATEMENTS = (1, 21)
POSTGRES = "host={host} port={port} dbname={dbname}"
READ_SETTINGS = "SELECT name, setting FROM pg_settings WHERE name NOT LIKE 'tcp_keepalives_%'"
"""Read the settings of a connection; keepalives differ, because PgBouncer has its own."""


def version() -> tuple[int, ...]:
    if PROGRAM is None:
        return ()
    output = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(number) for number in re.findall(r"\d+", output.splitlines()[0]))


pytestmark = pytest.mark.skipif(
    version() < KEEPS_PREPARED_STATEMENTS, reason="pgbouncer 1.21 or later is not installed; Debian 13 has it"
)


@pytest.fixture
def pgbouncer(app_database: str) -> Iterator[str]:
    """Yield the URL of `app_database` through a PgBouncer with the deployed configuration."""
    assert PROGRAM
    url, port = make_url(app_database), free_port()
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=TEMPORARY) as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "userlist.txt").write_text(f'"{url.username}" "{url.password}"\n')
        (folder / "adserver.ini").write_text(
            INI.read_text()
            .replace("host=postgres port=5432 dbname=adserver", POSTGRES.format(**url.query, dbname=url.database))
            .replace("listen_port = 6432", f"listen_port = {port}")
            .replace("/tmp/userlist.txt", f"{folder}/userlist.txt")
        )
        # PgBouncer refuses to run as root.
        user = "nobody" if os.geteuid() == 0 else None
        with subprocess.Popen([PROGRAM, "--quiet", folder / "adserver.ini"], user=user) as process:
            try:
                assert eventually(lambda: is_listening(port))
                yield f"postgresql://{url.username}:{url.password}@127.0.0.1:{port}/adserver"
            finally:
                process.kill()


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def settings(connection: "Connection[Record]") -> dict[str, str]:
    return dict(await connection.fetch(READ_SETTINGS))


async def test_each_pool_has_the_same_settings_as_without_pgbouncer(app_database: str, pgbouncer: str) -> None:
    direct, pooled = open_store(app_database), open_store(pgbouncer, serving_database="adserver_serving")
    for _ in range(2):
        async with direct.serving_connection() as expected, pooled.serving_connection() as connection:
            assert await settings(connection) == await settings(expected)
        async with direct.connection() as expected, pooled.connection() as connection:
            assert await settings(connection) == await settings(expected)
    await direct.close()
    await pooled.close()


async def test_ads_are_served_through_pgbouncer(database: str, pgbouncer: str) -> None:
    await set_up(database, own_campaign("own", cpm="1000", budgets={"lifetime": "5"}))
    async with (
        serving(pgbouncer, SERVING_DATABASE="adserver_serving") as server,
        Players(server.url) as players,
    ):
        responses = await players.ask_all({"campaign_id": "own"} for _ in range(20))
        assert [response.filled for response in responses].count(True) == 5
