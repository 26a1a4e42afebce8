"""What a month came to, recomputed: charged, corrected, released and held, by who pays and who earns."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from tests.integration.accounting.recomputation.books import Ad, Books, Entry, Parties

Row = dict[str, Any]


@dataclass
class Figures:
    """The sums of one advertiser, order, publisher and currency, and the days of their names."""

    sums: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    names: list[tuple[date, str, str | None]] = field(default_factory=list)

    def add(self, named_on: date, parties: Parties, **amounts: Decimal) -> None:
        self.names.append((named_on, parties.advertiser, parties.publisher))
        for column, amount in amounts.items():
            self.sums[column] += amount


def month_figures(books: Books, month: date) -> list[Row]:
    """The rows of finance.month_end(month) as of now, without `closed`."""
    by_party: defaultdict[tuple[str | None, ...], Figures] = defaultdict(Figures)

    def party_figures(parties: Parties, currency: str) -> Figures:
        return by_party[parties.advertiser_id, parties.order_id, parties.publisher_id, currency]

    for entry in books.of_month(month):
        _add_entry(books, month, party_figures(entry.parties, entry.currency), entry)
    for ad in books.ads:
        if ad.day.replace(day=1) == month and ad.entry is None:
            _add_uncharged(books, month, party_figures(ad.parties, ad.currency), ad)
    return [_row(month, key, figures) for key, figures in by_party.items()]


def _add_entry(books: Books, month: date, figures: Figures, entry: Entry) -> None:
    column = "charged" if entry.is_ad else "corrected"
    figures.add(entry.recorded_on, entry.parties, **{column: entry.amount}, publisher_amount=entry.publisher_amount)
    ends_at = books.month_ends_at(entry.parties.campaign_id, month)
    if entry.kind == "settle" and entry.late_from is None and entry.booked_at >= ends_at:
        figures.add(entry.booked_on, entry.parties, held=entry.amount, publisher_held=entry.publisher_amount)


def _add_uncharged(books: Books, month: date, figures: Figures, ad: Ad) -> None:
    held = {"held": ad.price, "publisher_held": ad.publisher_amount}
    if ad.released_at is None:
        figures.add(ad.day, ad.parties, **held)
        return
    figures.add(ad.day, ad.parties, released=ad.price)
    if ad.released_at >= books.month_ends_at(ad.parties.campaign_id, month):
        figures.add(ad.day, ad.parties, **held)


def _row(month: date, key: tuple[str | None, ...], figures: Figures) -> Row:
    advertiser_id, order_id, publisher_id, currency = key
    last = max(named_on for named_on, _, _ in figures.names)
    sums = figures.sums
    return {
        "month": month,
        "advertiser_id": advertiser_id,
        "advertiser": min(advertiser for day, advertiser, _ in figures.names if day == last),
        "order_id": order_id,
        "publisher_id": publisher_id,
        "publisher": min((publisher or "" for day, _, publisher in figures.names if day == last)) or None,
        "currency": currency,
        "spent": sums["charged"] + sums["corrected"],
    } | {
        column: sums[column]
        for column in ("charged", "corrected", "publisher_amount", "released", "held", "publisher_held")
    }
