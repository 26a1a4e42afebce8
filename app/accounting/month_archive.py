"""Archive of closed months: write the entries to files, prove that the files have them, and detach the partition."""

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

from asyncpg import Connection, InsufficientPrivilegeError, Record

from app.accounting.dates import next_month
from app.accounting.ledger_files import (
    LedgerWriter,
    Manifest,
    find_changed_file,
    is_same_entry,
    make_folder,
    manifest_path,
    read_manifest,
    read_rows,
    write_manifest,
)
from app.accounting.month_close import ProgressCallback, find_month_fault
from app.errors import AdServerError, InvalidEntry
from app.store import closed_months, month_archive, month_hashes
from app.store.closed_months import ClosedMonth
from app.store.connections import disable_timeouts

DETACH_RETRY_S = 60.0
"""Time for which the lock on the ledger is tried for, while queries read it."""

DETACH_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Archive:
    """The outcome of archiving a month."""

    month: date
    entries: int
    manifest: Path
    manifest_hash: bytes
    dropped: bool
    """Whether the detached table was dropped."""


async def archive_month(
    connection: "Connection[Record]",
    month: date,
    folder: Path,
    *,
    drop: bool,
    progress: ProgressCallback = lambda _done, _total: None,
) -> Archive:
    """Archive a closed month and return its archive; of an archived month, only drop the detached table.

    Raises InvalidEntry if the month is not closed, has changed, or its archive in the folder is not complete; then the
    month stays in the ledger.
    """
    archived = await month_archive.read_archived_month(connection, month)
    if archived is None:
        manifest = await _write_archive(connection, month, folder, progress)
        manifest_hash = await asyncio.to_thread(write_manifest, folder, month, manifest)
        await _detach(connection, month, manifest, manifest_hash)
    elif not drop:
        raise InvalidEntry("month", f"{month:%Y-%m} is already archived")
    manifest, manifest_hash = await _verified_manifest(connection, month, folder)
    dropped = drop and await _drop(connection, month)
    return Archive(month, manifest.entries, manifest_path(folder, month), manifest_hash, dropped)


async def find_archive_fault(connection: "Connection[Record]", month: date, folder: Path) -> str:
    """Return what is wrong with the archive of a month in this folder, or an empty string."""
    try:
        await _verified_manifest(connection, month, folder)
    except InvalidEntry as error:
        return str(error)
    return ""


async def _verified_manifest(connection: "Connection[Record]", month: date, folder: Path) -> tuple[Manifest, bytes]:
    """Return the manifest of an archived month. Raises InvalidEntry unless its files are unchanged."""
    archived = await month_archive.read_archived_month(connection, month)
    closed = await _read_closed_month(connection, month)
    manifest, manifest_hash = read_manifest(folder, month)
    if archived is None or manifest_hash != archived.manifest_hash or manifest.month_hash != closed.hash:
        raise InvalidEntry("folder", f"{manifest_path(folder, month)} is not the manifest of the archived month")
    changed = await asyncio.to_thread(find_changed_file, folder, manifest)
    if changed is not None:
        raise InvalidEntry("folder", f"{folder / changed} is missing or was changed")
    return manifest, manifest_hash


async def _write_archive(
    connection: "Connection[Record]", month: date, folder: Path, progress: ProgressCallback
) -> Manifest:
    """Write the files of a month, read them again, and compare every entry with the ledger."""
    await asyncio.to_thread(make_folder, folder, month)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await disable_timeouts(connection)
        closed = await _read_closed_month(connection, month)
        if fault := await find_month_fault(connection, month):
            raise InvalidEntry("month", f"{month:%Y-%m} has changed since it was closed: {fault}")
        if await month_archive.has_unsummed_entries(connection, month, next_month(month)):
            raise InvalidEntry("month", f"{month:%Y-%m} is not rolled up yet: run `adserver maintain`")
        manifest = await _write_files(connection, closed, folder, progress)
        await _compare_files(connection, month, folder, manifest)
    return manifest


async def _write_files(
    connection: "Connection[Record]", closed: ClosedMonth, folder: Path, progress: ProgressCallback
) -> Manifest:
    columns = month_archive.ledger_columns()
    writer = LedgerWriter(folder, closed.month, columns)
    amounts: dict[str, Decimal] = defaultdict(Decimal)
    entries = 0
    async for row in month_archive.read_entries(connection, closed.month, next_month(closed.month)):
        writer.add([row[name] for name, _ in columns])
        amounts[row["currency"]] += row["amount"]
        entries += 1
        if not entries % month_archive.FETCH_ENTRIES:
            progress(entries, closed.entries)
    writer.close()
    return Manifest(
        month=f"{closed.month:%Y-%m}",
        entries=entries,
        month_hash=closed.hash,
        previous_hash=closed.previous_hash,
        amounts={name: f"{amounts[name]:.6f}" for name in sorted(amounts)},
        columns={field.name: str(field.type) for field in writer.schema},
        files=writer.files,
    )


async def _compare_files(connection: "Connection[Record]", month: date, folder: Path, manifest: Manifest) -> None:
    """Raise AdServerError unless the files contain exactly the entries of the ledger."""
    names = [name for name, _ in month_archive.ledger_columns()]
    archived = read_rows(folder, manifest)
    async for row in month_archive.read_entries(connection, month, next_month(month)):
        found = next(archived, None)
        if found is None or not is_same_entry([row[name] for name in names], found):
            raise AdServerError(f"the files in {folder} do not have entry {row['entry_id']} as the ledger has it")
    if next(archived, None) is not None or find_changed_file(folder, manifest) is not None:
        raise AdServerError(f"the files in {folder} are not what was written")


async def _read_closed_month(connection: "Connection[Record]", month: date) -> ClosedMonth:
    for closed in await closed_months.read_closed_months(connection):
        if closed.month == month:
            return closed
    raise InvalidEntry("month", f"{month:%Y-%m} is not closed")


async def _detach(connection: "Connection[Record]", month: date, manifest: Manifest, manifest_hash: bytes) -> None:
    """Record the archive and detach the partition, in one transaction."""
    async with connection.transaction():
        await disable_timeouts(connection)
        try:
            await closed_months.lock_closing_exclusive(connection)
            closed = await _read_closed_month(connection, month)
            entries = await month_hashes.count_entries(connection, month, next_month(month))
            if closed.hash != manifest.month_hash or entries != manifest.entries:
                raise InvalidEntry("month", f"{month:%Y-%m} has changed while it was archived")
            await month_archive.record_archive(connection, month, next_month(month), entries, manifest_hash)
            deadline = time.monotonic() + DETACH_RETRY_S
            while not await month_archive.detach_partition(connection, month):
                if time.monotonic() >= deadline:
                    raise AdServerError("queries read the ledger all the time; try again")
                await asyncio.sleep(DETACH_PAUSE_S)
        except InsufficientPrivilegeError as error:
            raise AdServerError("only the owner of the database may archive a month") from error


async def _drop(connection: "Connection[Record]", month: date) -> bool:
    async with connection.transaction():
        return await month_archive.drop_detached_table(connection, month)
