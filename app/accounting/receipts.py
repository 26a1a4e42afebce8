"""Receipts: what closed months, guards and journals were, to be kept where nobody who can change the books can.

A receipt is a text of JSON lines: one for the receipt itself, one for each closed month, one for what was booked since
the last closed month, one for the repairs, and one for the guards.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import Any

from asyncpg import Connection, Record

from app.accounting.month_close import first_open_day, hash_journal
from app.errors import InvalidEntry
from app.store import closed_months, guards, receipt_facts
from app.store.closed_months import ClosedMonth
from app.store.guards import Guards, Repair

FORMAT = "adserver books receipt 1"

ReceiptLine = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Receipt:
    """The parsed lines of a receipt."""

    head: ReceiptLine
    months: Mapping[str, ReceiptLine]
    journal: ReceiptLine
    repairs: ReceiptLine
    guards: Mapping[str, str]


async def make_receipt(connection: "Connection[Record]") -> list[str]:
    """Return the lines of a receipt for all that is closed and booked by now. The transaction is one snapshot."""
    months = await closed_months.read_closed_months(connection)
    facts = await receipt_facts.read_facts(connection)
    begins = first_open_day(months)
    journal = await hash_journal(connection, begins, facts.booked_before)
    authors = await receipt_facts.count_corrections(connection, begins, facts.booked_before)
    repairs = await guards.read_repairs(connection)
    found = await guards.read_guards(connection)
    lines: list[ReceiptLine] = [
        {"receipt": FORMAT, "made_at": facts.made_at, "made_by": facts.made_by, "revision": facts.revision},
        *(month_line(month) for month in months),
        {
            "journal_since": None if begins == date.min else str(begins),
            "booked_before": facts.booked_before,
            "entries": journal.entries,
            "corrections_by": dict(authors),
            "hash": journal.hash.hex(),
        },
        {"repairs": len(repairs), "hash": hash_repairs(repairs)},
        {"guards": dict(found.hashes), "digest": guards_digest(found)},
    ]
    return [json.dumps(line, ensure_ascii=False) for line in lines]


def month_line(month: ClosedMonth) -> ReceiptLine:
    """Return the line of a closed month."""
    return {
        "month": f"{month.month:%Y-%m}",
        "closed_at": month.closed_at.isoformat(),
        "closed_by": month.closed_by,
        "entries": month.entries,
        "hash": month.hash,
    }


def guards_digest(found: Guards) -> str:
    """Return one hash over all guards."""
    return sha256("\n".join(f"{name} {found.hashes[name]}" for name in sorted(found.hashes)).encode()).hexdigest()


def hash_repairs(repairs: Sequence[Repair]) -> str:
    """Return one hash over recorded repairs."""
    return sha256("\n".join(str(repair) for repair in repairs).encode()).hexdigest()


def parse_receipt(text: str) -> Receipt:
    """Return a receipt. Raises InvalidEntry if the text is not one."""
    try:
        head, *months, journal, repairs, guard_line = (json.loads(line) for line in text.splitlines() if line.strip())
        if head["receipt"] != FORMAT:
            raise InvalidEntry("expect", f"must be a receipt of the format {FORMAT!r}")
        receipt = Receipt(head, {line["month"]: line for line in months}, journal, repairs, guard_line["guards"])
        _ = receipt.journal["booked_before"], receipt.repairs["repairs"], dict(receipt.guards)
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidEntry("expect", "must be a file that `adserver books close` printed") from error
    return receipt


async def find_changes(
    connection: "Connection[Record]", receipt: Receipt, found: Guards, *, with_journal: bool
) -> list[str]:
    """Return a sentence for everything that differs from the receipt, without hashing the closed months again."""
    months = await closed_months.read_closed_months(connection)
    repairs = await guards.read_repairs(connection)
    changes = [*_changed_months(receipt, {f"{month.month:%Y-%m}": month for month in months})]
    expected = receipt.repairs
    if hash_repairs(repairs[: expected["repairs"]]) != expected["hash"]:
        changes.append("the recorded repairs have changed")
    if with_journal:
        since = receipt.journal["journal_since"]
        begins = date.min if since is None else date.fromisoformat(since)
        journal = await hash_journal(connection, begins, receipt.journal["booked_before"])
        counts = Counter(
            dict(await receipt_facts.count_corrections(connection, begins, receipt.journal["booked_before"]))
        )
        if counts != Counter(receipt.journal["corrections_by"]):
            changes.append("the authors of corrections have changed")
        if journal.hash.hex() != receipt.journal["hash"]:
            changes.append(
                f"the entries, corrections or payments recorded before {receipt.journal['booked_before']} have changed:"
                f" they were {receipt.journal['entries']} entries and are {journal.entries}"
            )
    changes += _changed_guards(receipt.guards, found.hashes)
    return changes


def _changed_months(receipt: Receipt, months: Mapping[str, ClosedMonth]) -> Iterator[str]:
    for name, expected in receipt.months.items():
        if name not in months:
            yield f"{name} is not closed any more"
            continue
        now = month_line(months[name])
        for field, value in expected.items():
            if now.get(field) != value:
                yield f"{field} of {name} was {value} and is {now.get(field)}"


def _changed_guards(expected: Mapping[str, str], found: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            yield f"{name} is gone"
        elif name not in expected:
            yield f"{name} is new"
        elif found[name] != expected[name]:
            yield f"{name} was changed"
