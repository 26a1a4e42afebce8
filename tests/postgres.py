"""The Postgres of a test session, and fresh databases in it."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import count
from pathlib import Path

import asyncpg
from sqlalchemy.engine import make_url

from app.embedded import EmbeddedPostgres
from app.embedded.processes import acquire_lock, stop_orphans
from app.embedded.state import State
from app.errors import MisconfiguredServer
from app.store.roles import APP

TEMPLATE = "template_migrated"
MEMORY = Path("/dev/shm")
DISK = Path("/var/tmp")
MEMORY_MIN_BYTES = 6 << 30


def roomy_memory() -> Path | None:
    """The folder that is kept in memory, if there is one with room for the servers of a test session."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_MIN_BYTES:
        return MEMORY
    return None


# A fresh database is 700 new files, which some disks take half a second to make. Not below pytest's own folder, which
# is closed to the user that Postgres runs as when root runs the tests.
TEMPORARY = roomy_memory() or DISK
PREFIX = "adserver-tests-"
# A session that starts or ends just now is none of ours.
SWEEP_AFTER_S = 3600

numbers = count(1)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """An empty data directory that every user may enter, which is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=TEMPORARY))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def temporary_postgres(**settings: str) -> Iterator[EmbeddedPostgres]:
    """A server on an empty data directory, which is removed afterwards."""
    with temporary_folder() as folder, EmbeddedPostgres(folder, settings) as server:
        yield server


def create_template(server: EmbeddedPostgres) -> None:
    """Makes the empty database that is to be migrated."""

    async def create() -> None:
        async with administering(server) as connection:
            await connection.execute(f"CREATE DATABASE {TEMPLATE}")

    asyncio.run(create())


@asynccontextmanager
async def cloned_database(server: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    """The URL of a copy of `template`, which is dropped afterwards together with its sessions."""
    name = f"test_{next(numbers)}"
    async with administering(server) as connection:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield server.url(name)
    async with administering(server) as connection:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def as_server(url: str) -> str:
    """The same database for the role that the server runs as."""
    ours = make_url(url)
    if ours.username == APP:
        return url
    password = State(ours.port or 0, ours.password or "", None).password_of(APP)
    return ours.set(username=APP, password=password).render_as_string(hide_password=False)


@asynccontextmanager
async def administering(server: EmbeddedPostgres) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection to a database that no test uses."""
    connection = await asyncpg.connect(server.url("postgres"))
    try:
        yield connection
    finally:
        await connection.close()


def sweep_killed_sessions() -> None:
    """Stops and removes what killed test sessions left; running ones hold their lock."""
    for lock_file in (*MEMORY.glob(f"{PREFIX}*/lock"), *DISK.glob(f"{PREFIX}*/lock")):
        folder = lock_file.parent
        if time.time() - lock_file.stat().st_mtime < SWEEP_AFTER_S:
            continue
        with suppress(MisconfiguredServer, PermissionError), acquire_lock(folder):
            stop_orphans(folder / "postgres")
            shutil.rmtree(folder)
