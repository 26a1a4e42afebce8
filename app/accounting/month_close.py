"""Month close: rejects further entries in a month, and proves later that its entries are unchanged.

A month's hash is chained over chunks of its entries, and starts from the hash of the previously closed month:

    hash = sha256(hash || sha256(entries of the chunk))

Anyone who changes, adds or removes an entry therefore has to replace every later hash too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from hashlib import sha256

from asyncpg import Connection, InsufficientPrivilegeError, Record

from app.accounting.dates import next_month
from app.errors import AdServerError, InvalidEntry
from app.store import closed_months, month_archive, outbox
from app.store.closed_months import ClosedMonth, MonthStatus
from app.store.connections import disable_timeouts

CHUNK_ENTRIES = 10_000
FIRST_HASH = bytes(32)
"""The previous hash of the first closed month."""

ProgressCallback = Callable[[int, int], None]
"""Receives the number of hashed entries and the total."""


@dataclass(frozen=True, slots=True)
class MonthCheck:
    """The result of verifying a closed month."""

    month: ClosedMonth
    fault: str
    """Empty if the month is unchanged."""


async def close_month(
    connection: "Connection[Record]", month: date, progress: ProgressCallback = lambda _done, _total: None
) -> ClosedMonth:
    """Close a month in one transaction and return it; return a month that is already closed unchanged.

    Raises InvalidEntry if the month has not ended, has open holds, or follows a month that is not closed yet.
    """
    async with connection.transaction():
        await disable_timeouts(connection)
        try:
            return await _close_month(connection, month, progress)
        except InsufficientPrivilegeError as error:
            raise AdServerError("only the owner of the database may close a month") from error


async def _close_month(connection: "Connection[Record]", month: date, progress: ProgressCallback) -> ClosedMonth:
    await closed_months.lock_closing_exclusive(connection)
    previous = await closed_months.read_closed_months(connection)
    for closed in previous:
        if closed.month == month:
            return closed
    status = await closed_months.read_month_status(connection, month)
    _require_closable(month, status)
    await closed_months.refuse_entries(connection, month)
    previous_hash = previous[-1].hash if previous else FIRST_HASH
    entries, month_hash = await _hash_entries(connection, month, status.ends, previous_hash, progress)
    await closed_months.close_month(connection, month, entries, previous_hash, month_hash)
    await outbox.record_closed_month(connection, month)
    return (await closed_months.read_closed_months(connection))[-1]


def _require_closable(month: date, status: MonthStatus) -> None:
    name = f"{month:%Y-%m}"
    if status.lasts_in is not None:
        raise InvalidEntry("month", f"{name} has not ended in {status.lasts_in}, the timezone of a campaign")
    if status.last_closed is not None and month < status.last_closed:
        raise InvalidEntry("month", f"{name} is before {status.last_closed:%Y-%m}, which is already closed")
    if status.open_holds:
        raise InvalidEntry("month", f"{name} or an earlier month has {status.open_holds} open holds")
    if status.earlier_entry is not None:
        raise InvalidEntry("month", f"{status.earlier_entry:%Y-%m} must be closed before {name}")


async def _hash_entries(
    connection: "Connection[Record]",
    start: date,
    end: date,
    previous_hash: bytes,
    progress: ProgressCallback,
) -> tuple[int, bytes]:
    """Return the number of entries between the two days, and the hash chained over them."""
    total = await closed_months.count_entries(connection, start, end)
    entries, last_entry, chained_hash = 0, 0, previous_hash
    while True:
        chunk = await closed_months.hash_chunk(connection, start, end, last_entry, CHUNK_ENTRIES)
        if chunk.last_entry is None:
            return entries, chained_hash
        chained_hash = sha256(chained_hash + chunk.digest).digest()
        entries, last_entry = entries + chunk.entries, chunk.last_entry
        progress(entries, total)


async def verify_months(
    connection: "Connection[Record]",
    report: Callable[[MonthCheck], None],
    progress: ProgressCallback = lambda _done, _total: None,
) -> int:
    """Hash every closed month again, in one snapshot, and report each one. Return the number of changed months."""
    faults = 0
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await disable_timeouts(connection)
        previous_hash, start = FIRST_HASH, date.min
        for month in await closed_months.read_closed_months(connection):
            check = MonthCheck(month, await _find_fault(connection, month, previous_hash, start, progress))
            faults += bool(check.fault)
            report(check)
            previous_hash, start = month.hash, next_month(month.month)
    return faults


async def find_month_fault(connection: "Connection[Record]", month: date) -> str:
    """Hash one closed month again; return its fault, or an empty string."""
    previous_hash, start = FIRST_HASH, date.min
    for closed in await closed_months.read_closed_months(connection):
        if closed.month == month:
            return await _find_fault(connection, closed, previous_hash, start, lambda _done, _total: None)
        previous_hash, start = closed.hash, next_month(closed.month)
    return "it is not closed"


async def _find_fault(
    connection: "Connection[Record]",
    month: ClosedMonth,
    previous_hash: bytes,
    start: date,
    progress: ProgressCallback,
) -> str:
    """Return the fault of a month, or an empty string.

    `start` is the end of the previously closed month: the months between had no entry, and must have none now.
    """
    if month.previous_hash != previous_hash:
        return "it does not continue the previously closed month"
    if await month_archive.read_archived_month(connection, month.month) is not None:
        entries = await closed_months.count_entries(connection, month.month, next_month(month.month))
        return f"it is archived, and the ledger has {entries} entries of it" if entries else ""
    entries, month_hash = await _hash_entries(connection, start, next_month(month.month), previous_hash, progress)
    if entries != month.entries:
        return f"it had {month.entries} entries and now has {entries}"
    return "" if month_hash == month.hash else "an entry was changed"
