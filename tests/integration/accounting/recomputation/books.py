"""The books of a company, recomputed with Decimal from what its players and people were told. Reads no database."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from tests.integration.accounting.recomputation.company import File, Item

MILLIONTH = Decimal("0.000001")
LATE_PLAY_S = 21_600
LIFETIME = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Parties:
    """Who pays for an ad or a correction, who earns, and where it was shown."""

    order_id: str | None
    advertiser_id: str
    advertiser: str
    campaign_id: str
    creative_id: str | None = None
    upstream_id: str | None = None
    publisher_id: str | None = None
    publisher: str | None = None
    placement_id: str | None = None
    serve_id: UUID | None = None
    slot: int | None = None


@dataclass(eq=False)
class Ad:
    """An ad that a player was told of, and the beacons that it sent for it."""

    parties: Parties
    served_at: datetime
    day: date
    price: Decimal
    publisher_amount: Decimal
    currency: str
    expires_at: datetime | None = None
    """When its hold ends, for a campaign that is billed by impression."""
    released_at: datetime | None = None
    """When its hold was released; it may have been charged late after that."""
    is_failed: bool = False
    counted_at: datetime | None = None
    """The moment in whose budget periods it counts; None if its hold was released."""
    entry: "Entry | None" = None
    events: dict[str, datetime] = field(default_factory=dict)
    """When the first beacon of each event came."""
    is_late: bool = False
    """Whether its impression came after its hold was released."""
    device_type: str | None = None

    @property
    def is_held(self) -> bool:
        """Whether it is neither charged nor released."""
        return self.entry is None and self.released_at is None


@dataclass(eq=False)
class Entry:
    """A line of the ledger. `entry_id` is known where people were told it."""

    parties: Parties
    kind: str
    booked_at: datetime
    booked_on: date
    late_from: date | None
    amount: Decimal
    publisher_amount: Decimal
    currency: str
    counted_at: datetime | None = None
    reason: str | None = None
    key: str | None = None
    reverses: "Entry | None" = None
    entry_id: int | None = None
    reversed_as: int | None = None
    """The entry_id under which a reversal named it."""

    @property
    def is_ad(self) -> bool:
        """Whether it charges an ad."""
        return self.kind in ("charge", "settle")

    @property
    def month(self) -> date:
        """The month in which it is booked."""
        return self.booked_on.replace(day=1)

    @property
    def recorded_on(self) -> date:
        """The UTC day on which it was booked."""
        return self.booked_at.astimezone(UTC).date()


@dataclass(frozen=True)
class Payment:
    """A credit of an order, or a payout to a publisher."""

    party_id: str
    name: str
    amount: Decimal
    currency: str
    reason: str | None
    recorded_at: datetime
    key: str


@dataclass(frozen=True)
class ReversedSet:
    """Ads of a campaign that were booked in a span of time, and reversed under one key."""

    key: str
    selection: str
    reason: str
    recorded_at: datetime
    entries: Sequence[Entry]


@dataclass(frozen=True)
class ThirdPartyCount:
    """Impressions of a day that a third party counted."""

    source: str
    day: date
    campaign_id: str
    version: int
    impressions: int
    recorded_at: datetime


@dataclass(frozen=True)
class Change:
    """One item of a campaign file that was applied; `old` is None for a new one."""

    changed_at: datetime
    kind: str
    old: Item | None
    new: Item
    author: str
    role: str
    source: str
    revision: int
    version: int


@dataclass(frozen=True)
class ClosedMonth:
    """A closed month, its hash as the command printed it, and its figures."""

    month: date
    closed_at: datetime
    hash: str
    entries: int
    figures: Sequence[Mapping[str, Any]]


class Books:
    """What the database must have, given what was asked, told and sent; `now` is set before each step."""

    def __init__(self, role: str) -> None:
        self.role = role
        """The database role of the people who book."""
        self.now = LIFETIME
        self.items: dict[str, dict[str, Item]] = {}
        self.revision = 0
        self.changes: list[Change] = []
        self.ads: list[Ad] = []
        self.entries: list[Entry] = []
        self.sets: list[ReversedSet] = []
        self.credits: list[Payment] = []
        self.payouts: list[Payment] = []
        self.closed: list[ClosedMonth] = []
        self.invoices: list[dict[str, Any]] = []
        self.invoice_details: list[dict[str, Any]] = []
        self.requests: Counter[tuple[date, str]] = Counter()
        self.places: Counter[tuple[datetime, str | None, str | None]] = Counter()
        """Requests by hour, placement and device type."""
        self.repeats: Counter[tuple[date, str]] = Counter()
        """Impressions that were sent again, by day and campaign."""
        self.third_party: list[ThirdPartyCount] = []

    def apply(self, file: File, author: str, role: str, source: str) -> None:
        """Set up what the file has."""
        self.revision += 1
        for kind, items in file.items():
            for item in items:
                self.items.setdefault(kind, {})[item["id"]] = item
                self._note_change(kind, item["id"], author, role, source)

    def _note_change(self, kind: str, item_id: str, author: str, role: str, source: str) -> None:
        new = self.items[kind][item_id]
        if kind == "orders" and new.get("prepaid"):
            new = {**new, "limit": f"{self.order_limits(item_id)[0]}"}
        before = [change for change in self.changes if (change.kind, change.new["id"]) == (kind, item_id)]
        old = before[-1].new if before else None
        if old != new:
            change = Change(self.now, kind, old, new, author, role, source, self.revision, len(before) + 1)
            self.changes.append(change)

    def order_limits(self, order_id: str) -> tuple[Decimal | None, int | None]:
        """What the campaigns of an order may spend together, in money and in ads."""
        order = self.items["orders"][order_id]
        wanted = [Decimal(order["budget"])] if "budget" in order else []
        if order.get("prepaid"):
            wanted.append(self.credited(order_id))
        return min(wanted, default=None), order.get("impressions")

    def credited(self, order_id: str) -> Decimal:
        return sum((credit.amount for credit in self.credits if credit.party_id == order_id), Decimal(0))

    def credit(self, order_id: str, amount: Decimal, reason: str, key: str) -> None:
        """Book a credit, which changes the limit of its order."""
        order = self.items["orders"][order_id]
        name = self.name("advertisers", order["advertiser"])
        self.credits.append(Payment(order_id, name, amount, order["currency"], reason, self.now, key))
        self._note_change("orders", order_id, self.role, self.role, "direct")

    def pay(self, publisher_id: str, amount: Decimal, currency: str, key: str) -> None:
        """Record a payout."""
        name = self.name("publishers", publisher_id)
        self.payouts.append(Payment(publisher_id, name, amount, currency, None, self.now, key))

    def campaign(self, campaign_id: str) -> Item:
        return self.items["campaigns"][campaign_id]

    def count_request(self, outcome: str, parameters: Mapping[str, str]) -> None:
        """Count a request that was decided."""
        hour = self.now.replace(minute=0)
        self.requests[self.now.date(), outcome] += 1
        self.places[hour, parameters.get("placement_id"), parameters.get("device_type")] += 1

    def import_count(self, source: str, day: date, campaign_id: str, impressions: int) -> None:
        """Keep a third party's count, unless it is the same as before."""
        earlier = [c for c in self.third_party if (c.source, c.day, c.campaign_id) == (source, day, campaign_id)]
        if not earlier or earlier[-1].impressions != impressions:
            count = ThirdPartyCount(source, day, campaign_id, len(earlier) + 1, impressions, self.now)
            self.third_party.append(count)

    def local_day(self, campaign_id: str, at: datetime) -> date:
        return at.astimezone(ZoneInfo(self.campaign(campaign_id)["timezone"])).date()

    def name(self, kind: str, item_id: str) -> str:
        name: str = self.items[kind][item_id].get("name", item_id)
        return name

    def payer(self, campaign_id: str) -> Parties:
        """Who pays for an ad of the campaign now."""
        campaign = self.campaign(campaign_id)
        advertiser_id = campaign["advertiser"]
        return Parties(campaign.get("order"), advertiser_id, self.name("advertisers", advertiser_id), campaign_id)

    def serve(self, parties: Parties, *, may_play_late: bool) -> Ad:
        """Book an ad that a player was told of; one of a pod, or of a stitcher, may play late."""
        campaign = self.campaign(parties.campaign_id)
        price = Decimal(campaign["cpm"]) / 1000
        publisher = self.items["publishers"].get(parties.publisher_id or "", {})
        share = Decimal(publisher.get("revenue_share", "0"))
        part = (price * share).quantize(MILLIONTH, ROUND_HALF_EVEN)
        day = self.local_day(parties.campaign_id, self.now)
        ad = Ad(parties, self.now, day, price, part, campaign["currency"], counted_at=self.now)
        self.ads.append(ad)
        if campaign["billing"] == "serve":
            ad.entry = self._charge(ad, "charge", day, None)
        else:
            ttl_s = campaign.get("hold_ttl_s", 3600)
            ad.expires_at = self.now + timedelta(seconds=max(ttl_s, LATE_PLAY_S) if may_play_late else ttl_s)
        return ad

    def beacon(self, ad: Ad, event: str) -> None:
        """Count a beacon that a player sent."""
        if event == "impression":
            self._count_impression(ad)
        ad.events.setdefault(event, self.now)
        if event == "error" and ad.is_held:
            ad.released_at, ad.is_failed, ad.counted_at = self.now, True, None
        elif event == "impression" and ad.is_held:
            ad.entry = self._charge(ad, "settle", ad.day, None)
        elif event == "impression" and ad.entry is None and not ad.is_failed:
            self._charge_late(ad)

    def _count_impression(self, ad: Ad) -> None:
        if "impression" in ad.events:
            self.repeats[self.local_day(ad.parties.campaign_id, self.now), ad.parties.campaign_id] += 1
        elif ad.expires_at is not None:
            ad.is_late = not ad.is_held

    def _charge_late(self, ad: Ad) -> None:
        campaign_id = ad.parties.campaign_id
        if self.campaign(campaign_id).get("late_impressions") != "charge" or not self._has_room(ad):
            return
        today = self.local_day(campaign_id, self.now)
        ad.counted_at = self.now
        ad.entry = self._charge(ad, "settle", today, ad.day if ad.day != today else None)

    def _charge(self, ad: Ad, kind: str, booked_on: date, late_from: date | None) -> Entry:
        assert booked_on >= self.first_open_day
        entry = Entry(
            ad.parties, kind, self.now, booked_on, late_from, ad.price, ad.publisher_amount, ad.currency, ad.counted_at
        )
        self.entries.append(entry)
        return entry

    def _has_room(self, ad: Ad) -> bool:
        """Whether a late ad fits into the lifetime budgets of its campaign and of its order."""
        campaign = self.campaign(ad.parties.campaign_id)
        assert set(campaign.get("budgets", {})) <= {"lifetime"}
        limits = [(campaign["budgets"].get("lifetime"), "campaign_id", ad.parties.campaign_id)]
        if ad.parties.order_id:
            limits.append((self.items["orders"][ad.parties.order_id].get("budget"), "order_id", ad.parties.order_id))
        return all(
            limit is None or self.used(owner, owner_id) + ad.price <= Decimal(limit)
            for limit, owner, owner_id in limits
        )

    def used(self, owner: str, owner_id: str) -> Decimal:
        """What is spent and held of a campaign or an order."""
        spent = sum((e.amount for e in self.entries if getattr(e.parties, owner) == owner_id), Decimal(0))
        return spent + sum((ad.price for ad in self.held() if getattr(ad.parties, owner) == owner_id), Decimal(0))

    def held(self) -> list[Ad]:
        return [ad for ad in self.ads if ad.is_held]

    def release_expired(self) -> None:
        """Do what maintenance does with holds."""
        for ad in self.held():
            if ad.expires_at is not None and ad.expires_at <= self.now:
                ad.released_at, ad.counted_at = self.now, None

    @property
    def first_open_day(self) -> date:
        """The first day that is in no closed month."""
        return (max(c.month for c in self.closed) + timedelta(days=31)).replace(day=1) if self.closed else date.min

    def adjust(self, campaign_id: str, amount: Decimal, reason: str, key: str, day: date | None) -> Entry:
        """Book an adjustment, on a day in an open month if one is given."""
        today = self.local_day(campaign_id, self.now)
        return self._correct(self.payer(campaign_id), "adjustment", day or today, amount, reason, key)

    def reverse(self, entry: Entry, reason: str, key: str) -> Entry:
        """Book the opposite of an entry today."""
        today = self.local_day(entry.parties.campaign_id, self.now)
        reversal = self._correct(entry.parties, "reversal", today, -entry.amount, reason, key)
        reversal.publisher_amount, reversal.reverses = -entry.publisher_amount, entry
        reversal.counted_at = entry.counted_at
        return reversal

    def reverse_set(self, campaign_id: str, since: datetime, until: datetime, reason: str, key: str) -> list[Entry]:
        """Book the opposite of every ad of a campaign in a span of time, unless that is done already."""
        entries = [
            entry
            for entry in self.entries
            if entry.is_ad and entry.parties.campaign_id == campaign_id and since <= entry.booked_at < until
        ]
        selection = f"campaign {campaign_id}, since {since.isoformat()}, until {until.isoformat()}"
        self.sets.append(ReversedSet(key, selection, reason, self.now, entries))
        reversed_before = self.reversals()
        return [self.reverse(entry, reason, key) for entry in entries if entry not in reversed_before]

    def reversals(self) -> dict[Entry, Entry]:
        """The reversal of each entry that has one."""
        return {entry.reverses: entry for entry in self.entries if entry.reverses}

    def _correct(self, parties: Parties, kind: str, booked_on: date, amount: Decimal, reason: str, key: str) -> Entry:
        assert booked_on >= self.first_open_day
        currency = self.campaign(parties.campaign_id)["currency"]
        entry = Entry(parties, kind, self.now, booked_on, None, amount, Decimal(0), currency, None, reason, key)
        self.entries.append(entry)
        return entry

    def of_month(self, month: date) -> list[Entry]:
        return [entry for entry in self.entries if entry.month == month]

    def month_ends_at(self, campaign_id: str, month: date) -> datetime:
        """The midnight with which a month ends in the campaign's timezone."""
        following = (month + timedelta(days=31)).replace(day=1)
        timezone = ZoneInfo(self.campaign(campaign_id)["timezone"])
        return datetime(following.year, following.month, 1, tzinfo=timezone)


def total(entries: Iterable[Entry], column: str = "amount") -> Decimal:
    return sum((getattr(entry, column) for entry in entries), Decimal(0))
