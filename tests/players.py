"""Many players at once, and what the books say of what they got."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
import asyncpg

from app.accounting.reconcile import reconcile
from app.store.ledger_checks import Disagreement
from tests.launched import Launched, adserver
from tests.served_ads import serves_of
from tests.valid_vast import assert_valid

PATIENCE_S = 30.0
SECRETS = {"SECRET_KEY": "a-secret-for-tests", "ADMIN_TOKEN": "a-token-for-tests"}
AUTHORIZED = {"Authorization": f"Bearer {SECRETS['ADMIN_TOKEN']}"}
# Nobody is to hear `busy` only because this machine has so few cores.
UNHURRIED = {
    "QUEUE_MAX": "20000",
    "REQUEST_DEADLINE_MS": "30000",
    "UPSTREAM_DEADLINE_MS": "20000",
    "IDLE_IN_TRANSACTION_TIMEOUT_MS": "25000",
    "STATEMENT_TIMEOUT_MS": "25000",
    "LOCK_TIMEOUT_MS": "10000",
    "LOG_LEVEL": "warning",
}


@dataclass(frozen=True)
class Answer:
    """What a player got."""

    status: int
    request_id: str
    reason: str | None
    body: bytes

    @property
    def filled(self) -> bool:
        """Whether there is an ad in it."""
        return self.status == 200 and b"<Ad" in self.body


class Players:
    """As many connections as there are requests at once; use it as an async context manager."""

    def __init__(self, url: str, *, at_once: int = 500) -> None:
        self._url = url
        self._free = asyncio.Semaphore(at_once)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            self._url,
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=PATIENCE_S),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def ask(self, **parameters: str) -> Answer:
        """One tag URL's answer; raises aiohttp.ClientError where there is none."""
        async with self._free, self._session.get("/vast", params=parameters) as response:
            headers = response.headers
            body = await response.read()
            if response.status == 200:
                assert_valid(body)
                serves_of(body)
            return Answer(response.status, headers.get("x-request-id", ""), headers.get("x-no-fill-reason"), body)

    async def ask_all(self, requests: Iterable[Mapping[str, str]]) -> list[Answer]:
        """All of their answers."""
        return await asyncio.gather(*(self.ask(**parameters) for parameters in requests))

    async def ask_anyway(self, **parameters: str) -> Answer | None:
        """An answer, or None where the connection broke."""
        try:
            return await self.ask(**parameters)
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def beacon(self, path: str) -> bool:
        """Whether a beacon was answered."""
        try:
            async with self._free, self._session.get(path) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False


@asynccontextmanager
async def serving(database_url: str, **settings: str) -> AsyncIterator[Launched]:
    """`adserver serve` on that database, with its workers ready."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Launched("serve", DATABASE_URL=database_url, DATA_DIR=folder, **SECRETS | settings) as launched,
    ):
        await asyncio.to_thread(launched.wait_for, "Serving on")
        yield launched


def explained(database_url: str, request: str, **settings: str) -> str:
    """What `adserver explain` prints for the request."""
    result = adserver("explain", request, DATABASE_URL=database_url, **SECRETS | settings)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@asynccontextmanager
async def connected(url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection of the test's own."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def disagreements(url: str) -> list[Disagreement]:
    """What `adserver reconcile` would print."""
    found: list[Disagreement] = []
    async with connected(url) as connection:
        await reconcile(connection, lambda _rule, wrong, _seconds: found.extend(wrong))
    return found


async def idle_in_transaction(url: str) -> int:
    """Server connections that are idle in a transaction, or busy in one, just now."""
    async with connected(url) as connection:
        count: int = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND application_name LIKE 'adserver%' AND xact_start IS NOT NULL"
        )
    return count


async def all_transactions_ended(url: str) -> bool:
    """Whether no server connection is in a transaction just now; some have short ones at any time."""
    return await idle_in_transaction(url) == 0


CONNECTIONS_OF_A_WORKER = 12
"""Of one worker, by the settings' defaults: two for ads in hand, eight that fetch, two for beacons."""


async def all_lanes_connected(url: str, workers: int) -> bool:
    """Whether every lane of so many workers has all its connections, and none besides."""
    return await connections(url) == workers * CONNECTIONS_OF_A_WORKER


async def connections(url: str) -> int:
    """Connections of the lanes; the pool beside them grows and shrinks with what there is to do."""
    async with connected(url) as connection:
        count: int = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name = 'adserver-serving'"
        )
    return count


async def becomes(condition: Callable[[], Awaitable[bool]], timeout_s: float = PATIENCE_S) -> None:
    """Returns when the condition is true; raises TimeoutError if that does not happen in time."""
    async with asyncio.timeout(timeout_s):
        while not await condition():  # noqa: ASYNC110 - it lies in other processes, which nobody can subscribe to
            await asyncio.sleep(0.02)
