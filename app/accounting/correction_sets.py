"""Sets of reversals: many ads given back under one idempotency key, in chunks that hold up no ad for long.

A set is recorded with all of its entries before the first one is reversed. Each chunk is a transaction of its own, so
a set that was interrupted is continued by repeating it; what a chunk has booked is never booked twice.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from asyncpg import CheckViolationError, Connection, Record

from app.accounting.corrections import ENTRY_ID_MAX
from app.accounting.line_files import FAULTS_MAX, LINES_MAX, LineFaults, read_lines
from app.accounting.text_limits import KEY_LENGTH_MAX, require_key_and_reason, require_text
from app.errors import AdServerError, InvalidEntry
from app.store import budget_periods, closed_months, correction_counters, correction_sets, ledger_corrections
from app.store.connections import disable_timeouts
from app.store.correction_counters import CorrectedAmount
from app.store.correction_sets import Condition, RecordedSet, SetPart, SetProgress

CHUNK_ENTRIES = 5000
"""Entries that are reversed in one transaction: about half a second, of which budgets are locked for a few ms."""

ENTRIES_MAX = LINES_MAX

ENTRY_ID = "entry_id"


@dataclass(frozen=True, slots=True)
class EntryFile:
    """The entries that a file lists, with the line of each."""

    file: Path
    lines: Mapping[int, int]

    @property
    def selection(self) -> str:
        """The text by which a repeated set is recognized, in any order of the lines."""
        listed = "\n".join(map(str, sorted(self.lines)))
        return f"{len(self.lines)} listed entries, SHA-256 {sha256(listed.encode()).hexdigest()}"


@dataclass(frozen=True, slots=True)
class SetReversal:
    """A request to reverse every entry of a set."""

    entries: EntryFile | Condition
    reason: str
    key: str


def read_entry_file(file: Path) -> EntryFile:
    """Return the entries that a file lists, one id a line or a CSV column `entry_id`. Raises InvalidInput."""
    faults = LineFaults(file)
    lines: dict[int, int] = {}
    for line in read_lines(file, [ENTRY_ID], faults):
        text = line.cells[ENTRY_ID]
        entry_id = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(ENTRY_ID_MAX)) else 0
        if not 0 < entry_id <= ENTRY_ID_MAX:
            faults.add(line.number, f"{ENTRY_ID} must be the number of an entry, got {text[:40]!r}")
        elif entry_id in lines:
            faults.add(line.number, f"entry {entry_id} is already in line {lines[entry_id]}")
        else:
            lines[entry_id] = line.number
    faults.raise_any()
    if not lines:
        raise InvalidEntry("from", f"{file} lists no entries")
    return EntryFile(file, lines)


def require_condition(condition: Condition) -> Condition:
    """Return the condition. Raises InvalidEntry unless it restricts anything, and may be recorded."""
    for field in ("campaign_id", "placement_id", "publisher_id"):
        if (text := getattr(condition, field)) is not None:
            require_text(field.removesuffix("_id"), text, KEY_LENGTH_MAX)
    if condition.since is not None and condition.until is not None and condition.since >= condition.until:
        raise InvalidEntry("since", f"must be before --until ({condition.until:%Y-%m-%dT%H:%M:%SZ})")
    if condition == Condition():
        raise InvalidEntry("entry", "is required, or --from, or a condition such as --campaign")
    return condition


async def reverse_set(
    connection: "Connection[Record]", wanted: SetReversal, progress: Callable[[int, int], None]
) -> tuple[SetProgress, bool]:
    """Reverse the pending entries of a set; return it, and whether its key was recorded before.

    Raises InvalidInput, and then books nothing. An entry that another correction has reversed is skipped and counted.
    `progress` receives the number of entries that are done, and of all.
    """
    require_key_and_reason(wanted.key, wanted.reason)
    entries, is_repeat = await _record(connection, wanted)
    for first in range(1, entries + 1, CHUNK_ENTRIES):
        part = SetPart(wanted.key, first, min(first + CHUNK_ENTRIES - 1, entries))
        await _reverse_part(connection, part)
        progress(part.last, entries)
    (reached,) = await correction_sets.read_sets(connection, wanted.key)
    if reached.remaining:
        raise AdServerError(f"{reached.remaining} entries of set {wanted.key} are in an archive by now")
    return reached, is_repeat


async def _record(connection: "Connection[Record]", wanted: SetReversal) -> tuple[int, bool]:
    """Record the set unless its key was recorded before; return the number of its entries, and whether it was."""
    async with connection.transaction():
        await disable_timeouts(connection)
        single = await ledger_corrections.find_correction(connection, wanted.key)
        if single is not None:
            raise InvalidEntry("key", f"key {wanted.key} was already used for entry {single['entry_id']} alone")
        previous = await correction_sets.find_set(connection, wanted.key)
        selection = wanted.entries.selection if isinstance(wanted.entries, EntryFile) else _describe(wanted.entries)
        if previous is None:
            entries = await _record_new(connection, wanted, RecordedSet(selection, wanted.reason, 0))
            await _require_balances(connection, SetPart(wanted.key, 1, entries))
            return entries, False
        if (previous.selection, previous.reason) != (selection, wanted.reason):
            used_for = f"another set or reason: {previous.selection}; {previous.reason}"
            raise InvalidEntry("key", f"key {wanted.key} was already used for {used_for}")
        return previous.entries, True


async def _record_new(connection: "Connection[Record]", wanted: SetReversal, recorded: RecordedSet) -> int:
    if isinstance(wanted.entries, EntryFile):
        ids = list(wanted.entries.lines)
        entries = await correction_sets.record_entries(connection, wanted.key, recorded, ids)
        if entries < len(ids):
            await _raise_faults(connection, wanted.entries)
        return entries
    entries = await correction_sets.record_condition(connection, wanted.key, recorded, wanted.entries, ENTRIES_MAX + 1)
    if entries > ENTRIES_MAX:
        raise InvalidEntry("entries", f"must be at most {ENTRIES_MAX} in a set; restrict the conditions further")
    if entries == 0:
        raise InvalidEntry("entries", f"no charge of an ad meets the conditions: {recorded.selection}")
    return entries


def _describe(condition: Condition) -> str:
    """Return the text by which a repeated set is recognized."""
    values = ((field.name.removesuffix("_id"), getattr(condition, field.name)) for field in fields(condition))
    texts = ((name, value.isoformat() if isinstance(value, datetime) else value) for name, value in values)
    return ", ".join(f"{name} {text}" for name, text in texts if text is not None)


async def _raise_faults(connection: "Connection[Record]", listed: EntryFile) -> None:
    """Raise InvalidFile with the entries that cannot be reversed."""
    faults = LineFaults(listed.file)
    for entry_id, kind in await correction_sets.find_irreversible(connection, list(listed.lines), FAULTS_MAX):
        if kind is None:
            reason = f"unknown entry {entry_id}"
        elif kind in {"charge", "settle"}:
            reason = f"entry {entry_id} charges nothing"
        else:
            reason = f"entry {entry_id} charges no ad: its kind is {kind}"
        faults.add(listed.lines[entry_id], reason)
    faults.raise_any()


async def _require_balances(connection: "Connection[Record]", part: SetPart) -> None:
    """Raise InvalidEntry if more would be taken back than a campaign has spent."""
    overdrawn = await correction_sets.find_overdrawn(connection, part)
    if overdrawn is not None:
        campaign_id, amount = overdrawn
        raise InvalidEntry("entries", f"would take back {amount:.6f} more than campaign {campaign_id} has spent")


async def _reverse_part(connection: "Connection[Record]", part: SetPart) -> None:
    """Reverse the pending entries of a part in its own transaction, in the lock order of every correction."""
    async with connection.transaction():
        await ledger_corrections.lock_key(connection, part.key)
        await closed_months.lock_closing_shared(connection)
        bookings = await correction_sets.lock_campaigns(connection, part)
        if not bookings:
            return
        try:
            amounts = await correction_sets.reverse_entries(connection, part, bookings)
            await _require_balances(connection, part)
            await budget_periods.open_periods(connection, [booking.campaign_id for booking in bookings])
            await _update_counters(connection, amounts)
        except CheckViolationError as error:
            # The constraints of the database decide, regardless of the checks above.
            raise InvalidEntry("entries", str(error)) from error


async def _update_counters(connection: "Connection[Record]", amounts: list[CorrectedAmount]) -> None:
    """Take the amounts off the counters, each once for all entries of the part. Raises InvalidEntry.

    This comes last, because every ad of the campaigns waits while their counters are locked.
    """
    if not amounts:
        return
    counters = await correction_counters.lock_counters(connection, amounts)
    for counter in counters:
        if counter.spent + counter.amount < 0:
            owner = f"budget of order {counter.order_id}" if counter.order_id else f"{counter.period} budget"
            raise InvalidEntry("entries", f"would take back {-counter.amount} of the {counter.spent} in the {owner}")
    await correction_counters.add_to_counters(connection, counters)
