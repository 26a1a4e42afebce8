"""Everything that the bench runs on: one Postgres, its databases, and the servers, each opened when first asked for."""

import asyncio
import secrets
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from app.embedded import EmbeddedPostgres
from app.launch.migrate import migrate
from app.store.roles import APP, grant_login
from bench import redis_server
from bench.books import connected, snapshot_held
from bench.cap_rows import fill
from bench.catalog import campaign_file, targeted_file
from bench.processes import HOST, Workers, free_port, output_of, python_process, workers
from bench.scale import WORKERS, Scale

TEMPLATE = "template_bench"
FILL_WAL_FILE = "SELECT pg_logical_emit_message(true, 'bench', ''), pg_switch_wal()"
"""Begins the next WAL file; the checkpoint after a number of these keeps the files to be used again."""

# Not below a folder that the user whom Postgres runs as, when root runs the bench, may not enter.
TEMPORARY = Path("/var/tmp")  # noqa: S108 - the folder has a random name


@dataclass(frozen=True, slots=True)
class Instance:
    """A server on a database of its own; `database_url` is the superuser's."""

    workers: Workers
    database_url: str


class Stage:
    """Make it with `set_up`."""

    def __init__(self, stack: AsyncExitStack, scale: Scale, postgres: EmbeddedPostgres, folder: Path) -> None:
        self._stack = stack
        self.scale = scale
        self.postgres = postgres
        self.folder = folder
        self.secret = secrets.token_hex(32)
        self.upstream_url = f"http://{HOST}:{free_port()}"
        self._databases: dict[str, str] = {}
        self._instances: dict[str, Instance] = {}
        self._held: set[str] = set()
        self._bare: Workers | None = None
        self._redis: tuple[Workers, str] | None = None

    async def prepare(self) -> None:
        """Starts the upstream, and makes the WAL files and the database that all others are copies of."""
        port = self.upstream_url.rpartition(":")[2]
        await self._stack.enter_async_context(python_process("bench.upstream", [port], {}, self._log("upstream")))
        async with connected(self.postgres.url("postgres")) as connection:
            for _ in range(self.scale.wal_files):
                await connection.execute(FILL_WAL_FILE)
            await connection.execute("CHECKPOINT")
            await connection.execute(f"CREATE DATABASE {TEMPLATE}")
        url = self.postgres.url(TEMPLATE)
        await asyncio.to_thread(migrate, url)
        async with connected(url) as connection:
            await grant_login(connection, APP, self.postgres.password_of(APP))
            await connection.execute("SELECT make_partitions(2)")
        file = self.folder / "bench.toml"
        file.write_text(campaign_file(self.upstream_url))
        await self.adserver(url, "apply", str(file))
        async with connected(url) as connection:
            await connection.execute("ANALYZE")

    async def adserver(self, database_url: str, *arguments: str) -> str:
        """What the `adserver` command prints. Raises RuntimeError with its complaint if it fails."""
        program = Path(sys.executable).parent / "adserver"
        return await output_of(str(program), *arguments, environment={"ADSERVER_DATABASE_URL": database_url})

    async def database(self, name: str) -> str:
        """The superuser's URL of a database with the bench's campaigns and nothing else in it."""
        if name not in self._databases:
            async with connected(self.postgres.url("postgres")) as connection:
                await connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
            self._databases[name] = self.postgres.url(name)
        return self._databases[name]

    async def instance(
        self,
        name: str,
        workers_count: int = WORKERS,
        factory: str = "app.main:create_app",
        settings: Mapping[str, str] | None = None,
    ) -> Instance:
        """The server on the database of that name; its `settings` are those of the environment, with their prefix."""
        if name not in self._instances:
            database_url = await self.database(name)
            metrics = self.folder / f"metrics-{name}"
            metrics.mkdir()
            environment = {
                "ADSERVER_DATABASE_URL": self.postgres.url(name, APP),
                "ADSERVER_SECRET_KEY": self.secret,
                "ADSERVER_METRICS_DIR": str(metrics),
                "PROMETHEUS_MULTIPROC_DIR": str(metrics),
                **(settings or {}),
            }
            served = await self._stack.enter_async_context(
                workers(factory, environment, self._log(name), workers_count)
            )
            self._instances[name] = Instance(served, database_url)
        return self._instances[name]

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The servers that were asked for so far."""
        return tuple(self._instances.values())

    async def fill_caps(self, name: str, rows: int) -> None:
        """Lets the database of that name have so many rows in frequency_caps; does nothing the second time."""
        if name not in self._databases:
            await fill(await self.database(name), self.secret, rows)

    async def add_targeted(self, name: str) -> None:
        """Add the targeted campaigns to the database of that name; does nothing the second time."""
        if name not in self._databases:
            url = await self.database(name)
            file = self.folder / "targeted.toml"
            file.write_text(targeted_file(self.scale.targeted_campaigns))
            await self.adserver(url, "apply", str(file))
            async with connected(url) as connection:
                await connection.execute("ANALYZE")

    async def hold_snapshot(self, name: str) -> None:
        """Starts a query on the database of that name that keeps its snapshot until the end of the bench."""
        if name not in self._held:
            self._held.add(name)
            await self._stack.enter_async_context(snapshot_held(await self.database(name)))

    async def bare(self) -> Workers:
        """The bare route, which returns an answer of the server's."""
        if self._bare is None:
            environment = {"BENCH_ANSWER": await self._answer()}
            self._bare = await self._stack.enter_async_context(
                workers("bench.bare:create_app", environment, self._log("bare"))
            )
        return self._bare

    async def redis(self) -> tuple[Workers, str]:
        """The server on Redis, and the URL of that Redis."""
        if self._redis is None:
            url = await self._stack.enter_async_context(redis_server.redis_running())
            environment = {"BENCH_ANSWER": await self._answer(), "BENCH_REDIS_URL": url}
            served = await self._stack.enter_async_context(
                workers("bench.redis_server:create_app", environment, self._log("redis"))
            )
            self._redis = served, url
        return self._redis

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    async def _answer(self) -> str:
        served = (await self.instance("main")).workers
        return await asyncio.to_thread(_get, f"{served.url}/vast?campaign_id=c1&user_id=first")


@asynccontextmanager
async def set_up(scale: Scale, settings: Mapping[str, str] | None = None) -> AsyncIterator[Stage]:
    """The stage of one bench, which leaves nothing behind; `settings` of Postgres override the embedded one's."""
    folder = _open_folder()
    try:
        with EmbeddedPostgres(folder / "var", settings) as postgres:
            async with AsyncExitStack() as stack:
                stage = Stage(stack, scale, postgres, folder)
                await stage.prepare()
                yield stage
    finally:
        shutil.rmtree(folder)


def _open_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="adserver-bench-", dir=TEMPORARY))
    folder.chmod(0o755)
    return folder


def _get(url: str) -> str:
    with urlopen(url, timeout=10) as response:  # noqa: S310 - our own server
        if "X-No-Fill-Reason" in response.headers:
            raise RuntimeError(f"{url} gives no ad: {response.headers['X-No-Fill-Reason']}")
        body: bytes = response.read()
    return body.decode()
