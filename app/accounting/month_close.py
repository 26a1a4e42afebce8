"""Month close: keeps what a month came to, rejects further entries in it, and proves later that it is unchanged.

A month's hash is chained over its entries, corrections, figures and closing, and starts from the hash of the previously
closed month. For each chunk of lines:

    hash = sha256(hash || sha256(lines of the chunk))

Anyone who changes, adds or removes a line therefore has to replace every later hash too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256

from asyncpg import Connection, InsufficientPrivilegeError, Record

from app.accounting.dates import next_month
from app.errors import AdServerError, InvalidEntry
from app.store import closed_months, month_hashes, outbox
from app.store.closed_months import ClosedMonth, MonthStatus
from app.store.connections import disable_timeouts
from app.store.month_hashes import HashedChunk

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
    await closed_months.index_entries(connection, month)
    await closed_months.close_figures(connection, month)
    previous_hash = bytes.fromhex(previous[-1].hash) if previous else FIRST_HASH
    books = await _hash_books(connection, first_open_day(previous), month, previous_hash, progress)
    month_hash = books.extended(await month_hashes.hash_next_closing(connection, month, books.entries)).hash
    await closed_months.close_month(connection, month, books.entries, previous_hash, month_hash)
    await outbox.record_closed_month(connection, month)
    return (await closed_months.read_closed_months(connection))[-1]


def first_open_day(closed: Sequence[ClosedMonth]) -> date:
    """Return the first day after the last closed month; `date.min`, before every entry, if none is closed."""
    return next_month(closed[-1].month) if closed else date.min


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


@dataclass(frozen=True, slots=True)
class HashedBooks:
    """A chained hash, and the number of entries in it."""

    hash: bytes
    entries: int = 0

    def extended(self, chunk: HashedChunk, *, are_entries: bool = False) -> "HashedBooks":
        """Return the hash with a chunk added."""
        return HashedBooks(
            sha256(self.hash + chunk.digest).digest(), self.entries + chunk.lines if are_entries else self.entries
        )


async def _hash_books(
    connection: "Connection[Record]", begins: date, month: date, previous_hash: bytes, progress: ProgressCallback
) -> HashedBooks:
    """Hash the entries and corrections since a day until the end of a month, and the figures of that month."""
    ends = next_month(month)
    await month_hashes.fix_text_formats(connection)
    total = await month_hashes.count_entries(connection, begins, ends)
    books = HashedBooks(previous_hash)
    async for chunk in month_hashes.hash_entries(connection, begins, ends):
        books = books.extended(chunk, are_entries=True)
        progress(books.entries, total)
    async for chunk in month_hashes.hash_corrections(connection, begins, ends):
        books = books.extended(chunk)
    async for chunk in month_hashes.hash_figures(connection, month):
        books = books.extended(chunk)
    return books


async def hash_journal(connection: "Connection[Record]", begins: date, booked_before: str) -> HashedBooks:
    """Hash the entries and corrections of the days since one, and all payments, that were recorded before a moment."""
    await month_hashes.fix_text_formats(connection)
    books = HashedBooks(FIRST_HASH)
    async for chunk in month_hashes.hash_entries(connection, begins, date.max, booked_before):
        books = books.extended(chunk, are_entries=True)
    async for chunk in month_hashes.hash_corrections(connection, begins, date.max, booked_before):
        books = books.extended(chunk)
    async for chunk in month_hashes.hash_payments(connection, booked_before):
        books = books.extended(chunk)
    return books


async def verify_months(
    connection: "Connection[Record]",
    report: Callable[[MonthCheck], None],
    progress: ProgressCallback = lambda _done, _total: None,
    only_month: date | None = None,
) -> int:
    """Hash every closed month again, or only one, and report each. Return the number of changed months.

    The caller's transaction is one snapshot. Raises InvalidEntry if the only month is not closed.
    """
    faults = 0
    previous_hash, begins = FIRST_HASH, date.min
    months = await closed_months.read_closed_months(connection)
    if only_month is not None and only_month not in [month.month for month in months]:
        raise InvalidEntry("month", f"{only_month:%Y-%m} is not closed")
    for month in months:
        if only_month in (None, month.month):
            check = MonthCheck(month, await _find_fault(connection, month, previous_hash, begins, progress))
            faults += bool(check.fault)
            report(check)
        previous_hash, begins = bytes.fromhex(month.hash), next_month(month.month)
    return faults


async def find_month_fault(connection: "Connection[Record]", month: date) -> str:
    """Hash one closed month again, in an open transaction; return its fault, or an empty string."""
    checks: list[MonthCheck] = []
    await verify_months(connection, checks.append, only_month=month)
    return checks[0].fault


async def _find_fault(
    connection: "Connection[Record]",
    month: ClosedMonth,
    previous_hash: bytes,
    begins: date,
    progress: ProgressCallback,
) -> str:
    """Return the fault of a month, or an empty string.

    `begins` is the end of the previously closed month: the months between had no entry, and must have none now.
    """
    if month.previous_hash != previous_hash.hex():
        return "it does not continue the previously closed month"
    if month.archived:
        entries = await month_hashes.count_entries(connection, month.month, next_month(month.month))
        return f"it is archived, and the ledger has {entries} entries of it" if entries else ""
    books = await _hash_books(connection, begins, month.month, previous_hash, progress)
    if books.entries != month.entries:
        return f"it had {month.entries} entries and now has {books.entries}"
    month_hash = books.extended(await month_hashes.hash_closing(connection, month.month)).hash
    return "" if month_hash.hex() == month.hash else "an entry, a correction, a figure or its closing was changed"
