"""Invoices and credit notes, recomputed: lines by campaign and price, rounded once."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from tests.integration.accounting.recomputation.books import Books, Entry

Row = dict[str, Any]
CENT = Decimal("0.01")


def invoice_month(books: Books, month: date) -> None:
    """Make the documents of a closed month."""
    documents: defaultdict[tuple[str, str, str, date], list[Entry]] = defaultdict(list)
    for entry in books.of_month(month):
        parties = entry.parties
        corrected = entry.reverses.month if entry.reverses and entry.reverses.month < month else date.min
        documents[parties.advertiser_id, parties.order_id or "", entry.currency, corrected].append(entry)
    for (advertiser_id, order_id, currency, corrected), entries in sorted(documents.items()):
        details = _details(entries)
        if any(detail["amount"] for detail in details):
            _make(books, month, (advertiser_id, order_id or None, currency), corrected, entries, details)


def _make(
    books: Books,
    month: date,
    party: tuple[str, str | None, str],
    corrected: date,
    entries: Sequence[Entry],
    details: Sequence[Row],
) -> None:
    advertiser_id, order_id, currency = party
    number = len(books.invoices) + 1
    total_exact = sum((detail["amount"] for detail in details), Decimal(0))
    total = total_exact.quantize(CENT, ROUND_HALF_UP)
    corrects = None
    if corrected != date.min:
        keys = ("month", "advertiser_id", "order_id", "currency", "corrects")
        wanted = (corrected, *party, None)
        (corrects,) = (made["number"] for made in books.invoices if tuple(made[key] for key in keys) == wanted)
    books.invoices.append(
        {
            "number": number,
            "kind": "credit_note" if total_exact < 0 else "invoice",
            "month": month,
            "corrects": corrects,
            "advertiser_id": advertiser_id,
            "advertiser": max((entry.booked_at, entry.parties.advertiser) for entry in entries)[1],
            "billing_details": books.items["advertisers"][advertiser_id].get("billing_details"),
            "order_id": order_id,
            "purchase_order": books.items["orders"][order_id].get("purchase_order") if order_id else None,
            "currency": currency,
            "total_exact": total_exact,
            "rounding": total - total_exact,
            "total": total,
            "made_at": books.now,
            "made_by": books.role,
        }
    )
    for position, detail in enumerate(details, start=1):
        books.invoice_details.append(
            {"number": number, "position": position, "month": month, "currency": currency, **detail}
        )


def _details(entries: Iterable[Entry]) -> list[Row]:
    ads: dict[tuple[str, Decimal], Row] = {}
    others = []
    for entry in entries:
        if entry.parties.serve_id is None:
            others.append(entry)
            continue
        key = (entry.parties.campaign_id, abs(entry.amount) * 1000)
        line = ads.setdefault(key, {"impressions": 0, "reversed": 0, "amount": Decimal(0)})
        line["impressions" if entry.is_ad else "reversed"] += 1
        line["amount"] += entry.amount
    return [_ads_line(*key, line) for key, line in sorted(ads.items())] + [
        _other_line(entry) for entry in sorted(others, key=lambda entry: (entry.parties.campaign_id, entry.entry_id))
    ]


def _ads_line(campaign_id: str, cpm: Decimal, line: Row) -> Row:
    billable = line["impressions"] - line["reversed"]
    return {"kind": "ads", "campaign_id": campaign_id, "cpm": cpm, "billable": billable, **line} | {
        "unit_price": cpm / 1000,
        "entry_id": None,
        "reason": None,
    }


def _other_line(entry: Entry) -> Row:
    return {
        "kind": "adjustment",
        "campaign_id": entry.parties.campaign_id,
        **dict.fromkeys(("cpm", "unit_price", "impressions", "reversed", "billable")),
        "amount": entry.amount,
        "entry_id": entry.entry_id,
        "reason": entry.reason,
    }
