"""What the databases of the bench say: ads that were paid for, WAL flushes, and whether the books agree."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg
from asyncpg import Connection, Record

from app.accounting import reconcile as reconciliation
from app.store.ledger_checks import Disagreement

BOOKED = """
SELECT count(*) FROM spend_ledger WHERE kind = $1 AND booked_at >= $2 AND booked_at < $3
"""
"""Ledger entries of a kind that were booked in this time."""

FLUSHES = """
SELECT coalesce((
    SELECT sum(io.fsyncs) FROM pg_stat_activity a CROSS JOIN LATERAL pg_stat_get_backend_io(a.pid) AS io
    WHERE a.datname = current_database() AND a.application_name = 'adserver-serving' AND io.object = 'wal'
), 0) + coalesce((
    SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal' AND backend_type IN ('walwriter', 'checkpointer')
), 0)
"""
"""WAL flushes of the server's connections to this database, and of the processes that flush for everybody."""

HOLD_SNAPSHOT = "SELECT sum(amount), pg_sleep(3600) FROM spend_ledger"
"""A finance query that takes its time: rows that it may still see cannot be pruned or vacuumed."""

CHARGE, SETTLE = "charge", "settle"


@asynccontextmanager
async def connected(url: str) -> AsyncIterator["Connection[Record]"]:
    """A connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def snapshot_held(url: str) -> AsyncIterator[None]:
    """A finance query that runs until the end of the block."""
    async with connected(url) as connection:
        query = asyncio.create_task(connection.execute(HOLD_SNAPSHOT))
        try:
            yield
        finally:
            query.cancel()
            await asyncio.gather(query, return_exceptions=True)


class Clock:
    """The seconds that count of a run that starts now; Postgres' clock and ours are one machine's."""

    def __init__(self, warm_s: float, measured_s: float) -> None:
        self.start = time.time() + warm_s
        self.end = self.start + measured_s
        self.measured_s = measured_s

    async def booked_per_s(self, url: str, kind: str) -> float:
        """Ledger entries a second."""
        start, end = (datetime.fromtimestamp(at, UTC) for at in (self.start, self.end))
        async with connected(url) as connection:
            return int(await connection.fetchval(BOOKED, kind, start, end)) / self.measured_s

    async def counted_per_s(self, count: Callable[[], Awaitable[int]]) -> float:
        """By how much a count grows in a second."""
        await asyncio.sleep(self.start - time.time())
        began, first = time.perf_counter(), await count()
        await asyncio.sleep(self.end - time.time())
        return (await count() - first) / (time.perf_counter() - began)


async def charges(url: str) -> int:
    """All ads that were paid for when they were served."""
    beginning, end = datetime.fromtimestamp(0, UTC), datetime(9999, 1, 1, tzinfo=UTC)
    async with connected(url) as connection:
        return int(await connection.fetchval(BOOKED, CHARGE, beginning, end))


async def flushes(url: str) -> int:
    """WAL flushes so far, as far as they were reported: a connection reports once a second, when it is used."""
    async with connected(url) as connection:
        return int(await connection.fetchval(FLUSHES))


async def reconcile(url: str) -> None:
    """Raises RuntimeError if the books do not agree: then the run does not count."""
    wrong: list[str] = []

    def note(rule: str, disagreements: list[Disagreement], _seconds: float) -> None:
        wrong.extend(f"{rule}: {one.campaign_id}: {one.explanation}" for one in disagreements)

    async with connected(url) as connection:
        await reconciliation.reconcile(connection, note)
    if wrong:
        raise RuntimeError(f"the books do not agree: {wrong[0]}, and {len(wrong) - 1} more")
