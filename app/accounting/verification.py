"""Verification of the books: closed months, guards and repairs, alone or against a receipt."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from asyncpg import Connection, Record

from app.accounting.month_archive import find_archive_fault
from app.accounting.month_close import MonthCheck, ProgressCallback, verify_months
from app.accounting.receipts import Receipt, find_changes, guards_digest
from app.store import guards
from app.store.connections import snapshot
from app.store.guards import Repair


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of verifying the books."""

    months: Sequence[MonthCheck]
    repairs: Sequence[Repair]
    guards: int
    guards_digest: str
    missing_guards: Sequence[str]
    changes: Sequence[str] | None
    """A sentence for each difference from the receipt; None without a receipt."""

    @property
    def has_faults(self) -> bool:
        """Whether something is wrong; a recorded repair is not, unless it changed a closed month."""
        return bool(self.missing_guards or self.changes or any(check.fault for check in self.months))


async def verify_books(
    connection: "Connection[Record]",
    only_month: date | None = None,
    receipt: Receipt | None = None,
    progress: ProgressCallback = lambda _done, _total: None,
    archive: Path | None = None,
) -> Verification:
    """Verify all closed months or one of them, and the guards; compare with a receipt and an archive if there is one.

    With only one month, what was booked after the last month of the receipt is not hashed again.
    """
    months: list[MonthCheck] = []
    async with snapshot(connection):
        await verify_months(connection, months.append, progress, only_month)
        if archive is not None:
            months = [await _check_files(connection, check, archive) for check in months]
        repairs = await guards.read_repairs(connection)
        found = await guards.read_guards(connection)
        changes = None
        if receipt is not None:
            changes = await find_changes(connection, receipt, found, with_journal=only_month is None)
    return Verification(months, repairs, len(found.hashes), guards_digest(found), found.missing, changes)


async def _check_files(connection: "Connection[Record]", check: MonthCheck, archive: Path) -> MonthCheck:
    """Return the check of a month, which if it is archived includes its files in this folder."""
    if check.fault or not check.month.archived:
        return check
    return replace(check, fault=await find_archive_fault(connection, check.month.month, archive))
