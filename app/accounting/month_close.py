"""Closing a month, and proving that a closed one is what it was.

The hash of a month is chained over blocks of its entries, and begins with the hash of the month closed before:

    hash = sha256(hash || sha256(the block's entries))

so whoever changes, adds or removes one entry would have to change every hash from there on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import sha256

from asyncpg import Connection, InsufficientPrivilegeError, Record

from app.errors import AdServerError, InvalidEntry
from app.store import closed_months
from app.store.closed_months import ClosedMonth, MonthStatus
from app.store.connections import disable_timeouts

CHUNK_ENTRIES = 10_000
FIRST_HASH = bytes(32)
"""What the first month that is closed begins with."""

Progress = Callable[[int, int], None]
"""Is told how many entries of how many are hashed."""


@dataclass(frozen=True, slots=True)
class MonthCheck:
    """A closed month, and what is wrong with it; empty if nothing is."""

    month: ClosedMonth
    fault: str


async def close(
    connection: "Connection[Record]", month: date, progress: Progress = lambda _done, _all: None
) -> ClosedMonth:
    """Closes a UTC month in one transaction; one that is closed already stays as it is, and is returned.

    Raises InvalidEntry if it is not over, has open holds, or an earlier one is not closed.
    """
    async with connection.transaction():
        await disable_timeouts(connection)
        try:
            return await _close(connection, month, progress)
        except InsufficientPrivilegeError as error:
            raise AdServerError("only the owner of the database may close a month") from error


async def _close(connection: "Connection[Record]", month: date, progress: Progress) -> ClosedMonth:
    await closed_months.lock_closing_exclusive(connection)
    before = await closed_months.read_closed_months(connection)
    for known in before:
        if known.month == month:
            return known
    obstacles = await closed_months.read_month_status(connection, month)
    _check(month, obstacles)
    await closed_months.refuse_entries(connection, month)
    previous_hash = before[-1].hash if before else FIRST_HASH
    entries, month_hash = await _hash(connection, obstacles.begins, obstacles.ends, previous_hash, progress)
    await closed_months.close_month(connection, month, entries, previous_hash, month_hash)
    return (await closed_months.read_closed_months(connection))[-1]


def _check(month: date, obstacles: MonthStatus) -> None:
    name = f"{month:%Y-%m}"
    if not obstacles.is_over:
        raise InvalidEntry("month", f"{name} is not over")
    if obstacles.last_closed is not None and month < obstacles.last_closed:
        raise InvalidEntry("month", f"{name} is before {obstacles.last_closed:%Y-%m}, which is closed")
    if obstacles.open_holds:
        raise InvalidEntry("month", f"{name} has {obstacles.open_holds} open holds, or months before it have")
    if obstacles.earlier_entry is not None:
        earlier = obstacles.earlier_entry.astimezone(UTC)
        raise InvalidEntry("month", f"{earlier:%Y-%m} is to be closed before {name}")


async def _hash(
    connection: "Connection[Record]", begins: datetime, ends: datetime, previous_hash: bytes, progress: Progress
) -> tuple[int, bytes]:
    total = await closed_months.count_entries(connection, begins, ends)
    entries, last_entry, chained = 0, 0, previous_hash
    while True:
        block = await closed_months.hash_chunk(connection, begins, ends, last_entry, CHUNK_ENTRIES)
        if block.last_entry is None:
            return entries, chained
        chained = sha256(chained + block.digest).digest()
        entries, last_entry = entries + block.entries, block.last_entry
        progress(entries, total)


async def verify(
    connection: "Connection[Record]",
    report: Callable[[MonthCheck], None],
    progress: Progress = lambda _done, _all: None,
) -> int:
    """Hashes every closed month again, in one snapshot; returns how many are not what they were."""
    faults = 0
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await disable_timeouts(connection)
        previous_hash, begins = FIRST_HASH, datetime.min.replace(tzinfo=UTC)
        for month in await closed_months.read_closed_months(connection):
            verdict = MonthCheck(month, await _fault(connection, month, previous_hash, begins, progress))
            faults += bool(verdict.fault)
            report(verdict)
            previous_hash, begins = month.hash, _end(month.month)
    return faults


async def _fault(
    connection: "Connection[Record]", month: ClosedMonth, previous_hash: bytes, begins: datetime, progress: Progress
) -> str:
    """What is wrong with a month; months since the one closed before had no entry, and are proved with it."""
    if month.previous_hash != previous_hash:
        return "it does not continue the month closed before"
    entries, month_hash = await _hash(connection, begins, _end(month.month), previous_hash, progress)
    if entries != month.entries:
        return f"it had {month.entries} entries, and has {entries}"
    return "" if month_hash == month.hash else "an entry was changed"


def _end(month: date) -> datetime:
    """When a UTC month is over."""
    return datetime(month.year + month.month // 12, month.month % 12 + 1, 1, tzinfo=UTC)
