"""The rows of the views of impressions, hourly delivery and third parties' counts, from the recomputed books."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from tests.integration.accounting.recomputation.books import Ad, Books, Entry
from tests.integration.accounting.recomputation.spend_views import Row, percentage

EVENTS = {
    "impression": "seen",
    "firstQuartile": "first_quartile",
    "midpoint": "midpoint",
    "thirdQuartile": "third_quartile",
    "complete": "completed",
    "click": "clicks",
    "error": "errors",
}
COUNTERS = ("serves", *EVENTS.values(), "late", "expired", "reversed")
AMOUNTS = ("charged", "corrected")
PLACE = ("campaign_id", "creative_id", "placement_id", "publisher_id")

Hour = tuple[Any, ...]
"""An hour with the place of an ad: campaign, creative, placement, publisher and device type."""


def impressions(books: Books) -> list[Row]:
    """Every ad, with the kind of its entry in place of the entry's number."""
    reversals = books.reversals()
    return [
        {
            "serve_id": ad.parties.serve_id,
            "slot": ad.parties.slot,
            "served_on": ad.served_at.date(),
            "served_at": ad.served_at,
            "seen_at": ad.events.get("impression"),
            **{column: getattr(ad.parties, column) for column in (*PLACE, "upstream_id")},
            "country": None,
            "region": None,
            "device_type": ad.device_type,
            "price": ad.price,
            "currency": ad.currency,
            "billing": "serve" if ad.expires_at is None else "impression",
            "entry_kind": ad.entry.kind if ad.entry else None,
            "charged": ad.price if ad.entry else Decimal(0),
            "reversed": ad.entry in reversals,
        }
        for ad in books.ads
    ]


def delivery_hourly(books: Books) -> list[Row]:
    """What happened in each hour, and the requests of each hour."""
    sums: defaultdict[Hour, Counter[str]] = defaultdict(Counter)
    amounts: defaultdict[Hour, defaultdict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    device_types = {(ad.parties.serve_id, ad.parties.slot): ad.device_type for ad in books.ads}
    for ad in books.ads:
        for moment, column in _happenings(ad):
            sums[_hour(moment, ad.parties, ad.device_type)][column] += 1
    for entry in books.entries:
        device_type = device_types.get((entry.parties.serve_id, entry.parties.slot))
        hour = _hour(entry.booked_at, entry.parties, device_type)
        sums[hour]["reversed"] += _takes_back_an_ad(entry)
        amounts[hour]["charged" if entry.is_ad else "corrected"] += entry.amount
    return _requests(books) + [
        {
            "hour": hour[0],
            **dict(zip(PLACE, hour[1:5], strict=True)),
            "country": None,
            "device_type": hour[5],
            "currency": books.campaign(hour[1])["currency"],
            "requests": 0,
            **{column: sums[hour][column] for column in COUNTERS},
            "invalid": 0,
            **{column: amounts[hour][column] for column in AMOUNTS},
        }
        for hour in sums
    ]


def _hour(moment: datetime, parties: Any, device_type: str | None) -> Hour:
    start = moment.astimezone(UTC).replace(minute=0)
    return start, *(getattr(parties, column) for column in PLACE), device_type


def _takes_back_an_ad(entry: Entry) -> bool:
    return entry.kind == "reversal" and entry.parties.serve_id is not None


def _happenings(ad: Ad) -> Iterable[tuple[datetime, str]]:
    yield ad.served_at, "serves"
    for event, column in EVENTS.items():
        if event in ad.events:
            yield ad.events[event], column
    if ad.is_late:
        yield ad.events["impression"], "late"
    if ad.released_at is not None and not ad.is_failed:
        yield ad.released_at, "expired"


def _requests(books: Books) -> list[Row]:
    return [
        {
            "hour": hour,
            **dict.fromkeys((*PLACE, "country", "currency")),
            "placement_id": placement_id,
            "publisher_id": books.items["placements"][placement_id]["publisher_id"] if placement_id else None,
            "device_type": device_type,
            "requests": requests,
            **dict.fromkeys((*COUNTERS, "invalid"), 0),
            **dict.fromkeys(AMOUNTS, Decimal(0)),
        }
        for (hour, placement_id, device_type), requests in books.places.items()
    ]


def third_party_counts(books: Books) -> list[Row]:
    return [{**vars(count), "recorded_by": books.role} for count in books.third_party]


def discrepancies(books: Books) -> list[Row]:
    """Our impressions beside theirs, also for days between theirs."""
    theirs = {(c.source, c.campaign_id, c.day): c.impressions for c in books.third_party}
    ours = Counter((e.parties.campaign_id, e.booked_on) for e in books.entries if e.is_ad)
    taken_back = Counter((e.parties.campaign_id, e.booked_on) for e in books.entries if _takes_back_an_ad(e))
    booked = {(entry.parties.campaign_id, entry.booked_on) for entry in books.entries}
    rows = []
    for source, campaign_id in {(source, campaign_id) for source, campaign_id, _ in theirs}:
        reported = {day for s, c, day in theirs if (s, c) == (source, campaign_id)}
        between = {day for c, day in booked if c == campaign_id and min(reported) <= day <= max(reported)}
        for day in reported | between:
            their_count = theirs.get((source, campaign_id, day))
            rows.append(
                {
                    "day": day,
                    "source": source,
                    "campaign_id": campaign_id,
                    "advertiser": books.payer(campaign_id).advertiser,
                    **_difference(ours[campaign_id, day], their_count),
                    **_uncharged(books, campaign_id, day),
                    "repeat": books.repeats[day, campaign_id],
                    "reversed": taken_back[campaign_id, day],
                }
            )
    return rows


def _difference(ours: int, theirs: int | None) -> Row:
    difference = None if theirs is None else theirs - ours
    return {
        "ours": ours,
        "theirs": theirs,
        "difference": difference,
        "difference_percentage": percentage(difference, ours) if ours and difference is not None else None,
    }


def _uncharged(books: Books, campaign_id: str, day: date) -> Row:
    """What became of the ads of a day that were not charged."""
    released = [
        ad
        for ad in books.ads
        if ad.parties.campaign_id == campaign_id and ad.day == day and ad.released_at and ad.entry is None
    ]
    expired = [ad for ad in released if not ad.is_failed]
    return {
        "error": len(released) - len(expired),
        "late": sum("impression" in ad.events for ad in expired),
        "expired": sum("impression" not in ad.events for ad in expired),
    }
