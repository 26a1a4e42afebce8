"""The rows of the views of spend, earnings and ledger entries, from the recomputed books."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from tests.integration.accounting.recomputation.books import Ad, Books, Entry, total

Row = dict[str, Any]


def grouped(items: Iterable[Any], key: Callable[[Any], Hashable]) -> dict[Any, list[Any]]:
    groups: defaultdict[Any, list[Any]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups


def last_name(entries: Sequence[Entry], party: str) -> str:
    """The name on the last day; of two names on that day, the alphabetically first."""
    return first_on_last_day(((e.booked_on, e.recorded_on), getattr(e.parties, party)) for e in entries)


def first_on_last_day(names: Iterable[tuple[tuple[date, date], str]]) -> str:
    known = list(names)
    last = max(day for day, _ in known)
    return min(name for day, name in known if day == last)


def charges(entries: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.is_ad]


def corrections_of(entries: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in entries if not entry.is_ad]


def counts(entries: Sequence[Entry]) -> Row:
    impressions = len(charges(entries))
    reversed_ads = sum(entry.kind == "reversal" and entry.parties.serve_id is not None for entry in entries)
    return {"impressions": impressions, "reversed": reversed_ads, "billable": impressions - reversed_ads}


def amounts(entries: Sequence[Entry], sum_column: str = "spent", column: str = "amount") -> Row:
    return {
        "delivered": total(charges(entries), column),
        "corrected": total(corrections_of(entries), column),
        sum_column: total(entries, column),
    }


def held_sums(ads: Sequence[Ad]) -> Row:
    return {"held": sum((ad.price for ad in ads), Decimal(0)), "open_holds": len(ads)}


def advertiser_spend_monthly(books: Books) -> list[Row]:
    groups = grouped(books.entries, lambda e: (e.parties.advertiser_id, e.month, e.currency))
    return [
        {
            "advertiser_id": advertiser_id,
            "advertiser": last_name(entries, "advertiser"),
            "month": month,
            "currency": currency,
            "campaigns": len({entry.parties.campaign_id for entry in entries}),
            **amounts(entries),
            **counts(entries),
        }
        for (advertiser_id, month, currency), entries in groups.items()
    ]


def campaign_spend(books: Books) -> list[Row]:
    held = grouped(books.held(), lambda ad: ad.parties.campaign_id)
    spent = grouped(books.entries, lambda e: e.parties.campaign_id)
    return [
        {
            "campaign_id": campaign_id,
            "advertiser": books.name("advertisers", campaign["advertiser"]),
            "currency": campaign["currency"],
            "status": campaign.get("status", "active"),
            **amounts(spent.get(campaign_id, [])),
            **counts(spent.get(campaign_id, [])),
            **held_sums(held.get(campaign_id, [])),
        }
        for campaign_id, campaign in books.items["campaigns"].items()
    ]


def campaign_spend_daily(books: Books) -> list[Row]:
    return [
        {
            "campaign_id": campaign_id,
            "advertiser": last_name(entries, "advertiser"),
            "day": day,
            "currency": currency,
            **amounts(entries),
            **counts(entries),
        }
        for (campaign_id, day, currency), entries in grouped(
            books.entries, lambda e: (e.parties.campaign_id, e.booked_on, e.currency)
        ).items()
    ]


def _earnings(books: Books, column: str, span: Callable[[Entry], date]) -> list[Row]:
    earning = [entry for entry in books.entries if entry.parties.publisher_id]
    groups = grouped(earning, lambda e: (e.parties.publisher_id, span(e), e.currency))
    return [
        {
            "publisher_id": publisher_id,
            "publisher": last_name(entries, "publisher"),
            column: day,
            "currency": currency,
            **amounts(entries, "earned", "publisher_amount"),
            "spent": total(entries),
            "house_amount": total(entries) - total(entries, "publisher_amount"),
        }
        for (publisher_id, day, currency), entries in groups.items()
    ]


def publisher_earnings_daily(books: Books) -> list[Row]:
    return _earnings(books, "day", lambda entry: entry.booked_on)


def publisher_earnings_monthly(books: Books) -> list[Row]:
    return _earnings(books, "month", lambda entry: entry.month)


def invoice_lines(books: Books) -> list[Row]:
    """Every entry; the numbers of those that nobody was told are left out."""
    return [
        {
            **vars(entry.parties),
            "booked_at": entry.booked_at,
            "day": entry.booked_on,
            "late_from": entry.late_from,
            "kind": entry.kind,
            "amount": entry.amount,
            "publisher_amount": entry.publisher_amount,
            "house_amount": entry.amount - entry.publisher_amount,
            "currency": entry.currency,
            "reason": entry.reason,
        }
        for entry in books.entries
    ]


def corrections(books: Books) -> list[Row]:
    return [
        {
            "entry_id": entry.entry_id,
            "booked_on": entry.booked_on,
            "recorded_at": entry.booked_at,
            "recorded_by": books.role,
            "kind": entry.kind,
            "campaign_id": entry.parties.campaign_id,
            "advertiser": entry.parties.advertiser,
            "amount": entry.amount,
            "currency": entry.currency,
            "reason": entry.reason,
            "reverses": entry.reversed_as,
            "idempotency_key": entry.key,
        }
        for entry in corrections_of(books.entries)
    ]


def correction_sets(books: Books) -> list[Row]:
    reversals = books.reversals()
    return [
        {
            "idempotency_key": item.key,
            "selection": item.selection,
            "reason": item.reason,
            "recorded_at": item.recorded_at,
            "recorded_by": books.role,
            "entries": len(item.entries),
            "reversed": sum(reversals[entry].key == item.key for entry in item.entries),
            "skipped": sum(reversals[entry].key != item.key for entry in item.entries),
            "remaining": 0,
        }
        for item in books.sets
    ]


def unbilled_holds(books: Books) -> list[Row]:
    groups = grouped(
        books.held(),
        lambda ad: (
            ad.parties.campaign_id,
            ad.parties.order_id,
            ad.parties.advertiser,
            ad.parties.publisher_id,
            ad.currency,
            ad.day,
        ),
    )
    columns = ("campaign_id", "order_id", "advertiser", "publisher_id", "currency", "booked_on")
    return [
        {
            **dict(zip(columns, key, strict=True)),
            "held": sum((ad.price for ad in ads), Decimal(0)),
            "publisher_held": sum((ad.publisher_amount for ad in ads), Decimal(0)),
            "holds": len(ads),
            "first_expires_at": min(ad.expires_at for ad in ads),
            "last_expires_at": max(ad.expires_at for ad in ads),
        }
        for key, ads in groups.items()
    ]


def delivery_daily(books: Books) -> list[Row]:
    groups = grouped(
        books.ads,
        lambda ad: (
            ad.served_at.astimezone(UTC).date(),
            ad.parties.campaign_id,
            ad.parties.placement_id,
            ad.parties.publisher_id,
            ad.currency,
        ),
    )
    columns = ("served_on", "campaign_id", "placement_id", "publisher_id", "currency")
    return [
        {
            **dict(zip(columns, key, strict=True)),
            "advertiser": books.payer(key[1]).advertiser,
            "serves": len(ads),
            "seen": (seen := sum("impression" in ad.events for ad in ads)),
            "seen_percentage": percentage(seen, len(ads)),
        }
        for key, ads in groups.items()
    ]


def percentage(part: Decimal | int, whole: Decimal | int) -> Decimal:
    """The part in percent, rounded half up to two decimals."""
    return (Decimal(part) * 100 / Decimal(whole)).quantize(Decimal("0.01"), "ROUND_HALF_UP")


def no_fill_daily(books: Books) -> list[Row]:
    return [
        {"requested_on": day, "reason": outcome, "requests": requests}
        for (day, outcome), requests in books.requests.items()
        if outcome != "served"
    ]


def fill_rate_daily(books: Books) -> list[Row]:
    days = grouped(books.requests.items(), lambda item: item[0][0])
    return [
        {
            "requested_on": day,
            "requests": (requests := sum(number for _, number in items)),
            "filled": (filled := sum(number for (_, outcome), number in items if outcome == "served")),
            "fill_percentage": percentage(filled, requests),
        }
        for day, items in days.items()
    ]


def balance_as_of(books: Books, moment: datetime) -> list[Row]:
    """The rows of finance.balance_as_of(moment)."""
    booked = [entry for entry in books.entries if entry.booked_at <= moment]
    return [
        {
            "campaign_id": campaign_id,
            "advertiser": books.payer(campaign_id).advertiser,
            "currency": currency,
            "spent": total(entries),
        }
        for (campaign_id, currency), entries in grouped(booked, lambda e: (e.parties.campaign_id, e.currency)).items()
    ]
