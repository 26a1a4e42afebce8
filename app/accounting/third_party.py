"""Counts of third parties: imported from a file, all or nothing, and compared with our own impressions."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from asyncpg import Connection, Record

from app.accounting.dates import parse_day, require_bookable
from app.accounting.line_files import LineFaults, read_lines
from app.accounting.text_limits import KEY_LENGTH_MAX, require_text
from app.errors import InvalidEntry
from app.store import third_party
from app.store.third_party import Count

COLUMNS = ("day", "campaign", "count")
COUNT_MAX = 10**12
DAYS_AHEAD_MAX = 1
"""Days by which the local day of a campaign may be ahead of the UTC day."""


@dataclass(frozen=True, slots=True)
class CountFile:
    """The counts that a file lists, with the line of each."""

    file: Path
    lines: dict[Count, int]


@dataclass(frozen=True, slots=True)
class ImportedCounts:
    """The outcome of an import: numbers of counts that are new, that replace an earlier one, and that are the same."""

    new: int
    replaced: int
    unchanged: int


def read_count_file(file: Path) -> CountFile:
    """Return the counts of a CSV file: day, campaign and count. Raises InvalidInput, which names each bad line."""
    faults = LineFaults(file)
    counts: dict[tuple[date, str], tuple[int, int]] = {}
    for line in read_lines(file, COLUMNS, faults):
        try:
            day, campaign_id = _parse_day(line.cells["day"]), line.cells["campaign"]
            require_text("campaign", campaign_id, KEY_LENGTH_MAX)
            impressions = _parse_count(line.cells["count"])
        except InvalidEntry as error:
            faults.add(line.number, str(error))
            continue
        if (day, campaign_id) in counts:
            earlier = counts[day, campaign_id][1]
            faults.add(line.number, f"campaign: the count of {campaign_id} on {day} is already in line {earlier}")
        else:
            counts[day, campaign_id] = impressions, line.number
    faults.raise_any()
    if not counts:
        raise InvalidEntry("file", f"{file} lists no counts")
    return CountFile(file, {Count(*key, impressions): number for key, (impressions, number) in counts.items()})


async def import_counts(connection: "Connection[Record]", source: str, listed: CountFile) -> ImportedCounts:
    """Import the counts in one transaction. Raises InvalidInput, and then imports nothing.

    A count that was imported before counts no more, and stays in the history; the same count again changes nothing.
    """
    require_text("source", source, KEY_LENGTH_MAX)
    counts = list(listed.lines)
    async with connection.transaction():
        unknown = await third_party.find_unknown_campaigns(connection, sorted({item.campaign_id for item in counts}))
        faults = LineFaults(listed.file)
        for count, number in listed.lines.items():
            if count.campaign_id in unknown:
                faults.add(number, f"campaign: unknown campaign {count.campaign_id!r}")
        faults.raise_any()
        new, replaced = await third_party.insert_changed(connection, source, counts)
    return ImportedCounts(new, replaced, len(counts) - new - replaced)


def _parse_day(text: str) -> date:
    day = require_bookable("day", parse_day("day", text))
    if day > datetime.now(UTC).date() + timedelta(days=DAYS_AHEAD_MAX):
        raise InvalidEntry("day", f"must not be in the future, got {text}")
    return day


def _parse_count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > len(str(COUNT_MAX)) or int(text) > COUNT_MAX:
        raise InvalidEntry("count", f"must be a whole number from 0 to {COUNT_MAX}, got {text[:40]!r}")
    return int(text)
