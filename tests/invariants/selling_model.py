"""A model of what may be sold, in plain Python: prices, budgets, orders, caps, priorities, pods and creatives.

It does not choose. It says which ads a request may get, and keeps the books for those that it got.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LENGTHS = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "90 minutes": timedelta(minutes=90),
    "3 days": timedelta(days=3),
}
PERIODS = ("hour", "day", "lifetime")
ENDLESS = 10**9
DAY = timedelta(days=1)
POD_HOLD = timedelta(hours=6)


@dataclass(frozen=True)
class Cap:
    """At most so many ads for each viewer and window, of those that the level counts together."""

    impressions: int
    window: str
    level: str = "campaign"


@dataclass(frozen=True)
class Limit:
    """What a budget has in money and in the units that are sold."""

    amount: Decimal | None = None
    units: int | None = None


@dataclass(frozen=True)
class Creative:
    """An own creative, which may be taken down."""

    id: str
    duration_s: int = 15
    status: str = "active"
    ends_at: datetime | None = None


@dataclass(frozen=True)
class Order:
    """A purchase, whose campaigns share its limit."""

    id: str
    advertiser: str
    limit: Limit


@dataclass(frozen=True)
class Campaign:
    """A campaign's present definition; all of its days are those of UTC."""

    id: str
    advertiser: str
    order: str | None = None
    status: str = "active"
    price_model: str = "cpm"
    price: Decimal = Decimal(1)
    billing: str = "serve"
    budgets: Mapping[str, Limit] = field(default_factory=dict)
    caps: tuple[Cap, ...] = ()
    without_user: str = "skip"
    hold_ttl: timedelta = timedelta(hours=1)
    late: str = "ignore"
    priority: int = 5
    weight: int = 1
    categories: tuple[str, ...] = ()
    ads_per_pod: int = 1
    creatives: tuple[Creative, ...] = ()

    @property
    def traits(self) -> set[str]:
        """What its competitors have too."""
        return {self.advertiser, *self.categories}


@dataclass(frozen=True)
class Placement:
    """A list of campaigns, or None for every campaign by priority; and what it blocks."""

    id: str
    campaigns: tuple[str, ...] | None = None
    blocked_advertisers: tuple[str, ...] = ()
    blocked_categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """One ad request; only a named one can be repeated."""

    place: str
    user: str | None = None
    session: str | None = None
    name: str | None = None
    pod_size: int = 1
    pod_duration_s: int | None = None
    min_ads: int = 1
    competitors: str = "apart"


@dataclass(eq=False)
class Ad:
    """An ad that was served, by the terms of that moment; `keys` are the budget periods in which it counts."""

    campaign: Campaign
    creative: Creative
    served_at: datetime
    keys: Sequence["BudgetKey"]
    expires_at: datetime
    state: str = "held"
    """held → settled or released, or → expired, and from there perhaps → settled."""


BudgetKey = tuple[str, str, datetime]
"""A budget, its period, and the start of that."""
CountKey = tuple[str, str, str, datetime]
"""A viewer, what is counted for them, the window, and the start of that."""


def window_start(window: str, at: datetime) -> datetime:
    """Return the start of the window that contains a moment."""
    length = LENGTHS.get(window)
    return EPOCH if length is None else at - (at - EPOCH) % length


class Model:
    """The amounts spent and held, the counts, and the ads that were served."""

    def __init__(
        self, now: datetime, campaigns: Sequence[Campaign], orders: Sequence[Order], places: Sequence[Placement]
    ) -> None:
        self.now = now
        self.campaigns = {campaign.id: campaign for campaign in campaigns}
        self.orders = {order.id: order for order in orders}
        self.places = {place.id: place for place in places}
        self.sessions: dict[str, str | None] = {}
        """The user of each session."""
        self.played: defaultdict[str, set[str]] = defaultdict(set)
        self.spent: defaultdict[BudgetKey, Decimal] = defaultdict(Decimal)
        self.held: defaultdict[BudgetKey, Decimal] = defaultdict(Decimal)
        self.units: Counter[BudgetKey] = Counter()
        self.seen: Counter[CountKey] = Counter()
        self.answers: dict[str, list[Ad]] = {}
        """The newest ads of each named request."""

    def earlier_answer(self, request: Request) -> list[Ad] | None:
        """Return the ads that a repeated request must get again."""
        ads = self.answers.get(request.name or "")
        return ads if ads and ads[0].served_at > self.now - DAY else None

    def ranks(self, request: Request) -> dict[str, int]:
        """Return the candidates in their order, each with its rank: none may displace one of a lower rank."""
        place = self.places[request.place]
        ids = place.campaigns
        if ids is None:
            ranks = {campaign.id: campaign.priority for campaign in self.campaigns.values()}
        elif request.pod_size == 1:
            ranks = {campaign_id: rank for rank, campaign_id in enumerate(ids)}
        else:
            # In a pod, neighbors of one priority make the most of their time together.
            changes = [self.campaigns[one].priority != self.campaigns[other].priority for one, other in pairwise(ids)]
            ranks = {campaign_id: sum(changes[:index]) for index, campaign_id in enumerate(ids)}
        return {campaign_id: rank for campaign_id, rank in ranks.items() if not self._is_blocked(campaign_id, place)}

    def eligible(self, request: Request) -> dict[str, Sequence[Creative]]:
        """Return the candidates that may serve now, each with its creatives that may."""
        found = {}
        for campaign_id in self.ranks(request):
            campaign = self.campaigns[campaign_id]
            if self._is_sold_to(campaign, request) and self.room(campaign, request) > 0:
                creatives = [film for film in campaign.creatives if self._may_play(campaign, film, request)]
                if creatives:
                    found[campaign_id] = creatives
        return found

    def room(self, campaign: Campaign, request: Request) -> int:
        """Return how many ads of the campaign its budgets, its order and its caps allow now."""
        rooms = [
            _room(self._limit(key), self._used(key), self.units[key], campaign.price) for key in self.keys(campaign)
        ]
        for key, cap in self.counts(campaign, None, request).items():
            rooms.append(cap - self.seen[key])
        return min(rooms)

    def order_room(self, campaign: Campaign, price: Decimal) -> int:
        """Return how many ads of this price the campaign's order allows now."""
        keys = _order_keys(campaign)
        return min((_room(self._limit(key), self._used(key), self.units[key], price) for key in keys), default=ENDLESS)

    def keys(self, campaign: Campaign) -> list[BudgetKey]:
        """Return the present budget periods of a campaign and its order."""
        own = [(campaign.id, period, window_start(period, self.now)) for period in PERIODS]
        return [*own, *_order_keys(campaign)]

    def counts(self, campaign: Campaign, creative: Creative | None, request: Request) -> dict[CountKey, int]:
        """Return the counts that an ad changes, each with its cap; those of a creative only if one is given."""
        found: dict[CountKey, int] = {}
        for counter, cap in self._caps(campaign, creative):
            viewer = request.session if cap.window == "session" else self.user(request)
            if viewer is not None:
                key = (viewer, counter, cap.window, window_start(cap.window, self.now))
                found[key] = min(cap.impressions, found.get(key, ENDLESS))
        return found

    def counters(self, campaign: Campaign) -> set[str]:
        """Return what the caps of a campaign count."""
        return {counter for counter, _ in self._caps(campaign, None)}

    def user(self, request: Request) -> str | None:
        """Return the user of a request: its own, or that of its session."""
        return request.user or self.sessions.get(request.session or "")

    def serve(self, request: Request, served: Sequence[tuple[str, str]]) -> list[Ad]:
        """Keep the books for an answer, which has a campaign and a creative for each ad; it must be within limits."""
        ads = []
        for campaign_id, creative_id in served:
            campaign = self.campaigns[campaign_id]
            creative = next(film for film in campaign.creatives if film.id == creative_id)
            ttl = campaign.hold_ttl if request.pod_size == 1 else max(campaign.hold_ttl, POD_HOLD)
            ad = Ad(campaign, creative, self.now, self.keys(campaign), self.now + ttl)
            self._charge(ad, request)
            ads.append(ad)
        if request.name is not None and ads:
            self.answers[request.name] = ads
        return ads

    def hear(self, ad: Ad, event: str) -> None:
        """Settle or release an ad for a beacon, if it is the one that decides."""
        if ad.state == "held" and event == ad.campaign.billing:
            ad.state = "settled"
            self._move(ad, settles=True)
        elif ad.state == "held" and event == "error":
            ad.state = "released"
            self._move(ad, settles=False)
        elif ad.state == "expired" and event == ad.campaign.billing:
            self._charge_late(ad)

    def sweep(self, ads: Collection[Ad]) -> None:
        """Release the holds that have expired."""
        for ad in ads:
            if ad.state == "held" and ad.expires_at <= self.now:
                ad.state = "expired"
                self._move(ad, settles=False)

    def _is_blocked(self, campaign_id: str, place: Placement) -> bool:
        campaign = self.campaigns[campaign_id]
        return campaign.advertiser in place.blocked_advertisers or not set(campaign.categories).isdisjoint(
            place.blocked_categories
        )

    def _is_sold_to(self, campaign: Campaign, request: Request) -> bool:
        """Return whether the campaign is active, and the viewer known as far as its caps must know them."""
        if campaign.status != "active":
            return False
        windows = {cap.window for _, cap in self._caps(campaign, campaign.creatives[0])}
        is_known = (request.session is not None or "session" not in windows) and (
            self.user(request) is not None or windows <= {"session"}
        )
        return is_known or campaign.without_user == "serve"

    def _may_play(self, campaign: Campaign, film: Creative, request: Request) -> bool:
        if film.status != "active" or (film.ends_at is not None and film.ends_at <= self.now):
            return False
        if request.pod_duration_s is not None and film.duration_s > request.pod_duration_s:
            return False
        return all(self.seen[key] < cap for key, cap in self.counts(campaign, film, request).items())

    def _caps(self, campaign: Campaign, creative: Creative | None) -> list[tuple[str, Cap]]:
        """Return the caps that apply to an ad, each with what it counts; shared ones of every campaign that shares."""
        found = []
        for other in self.campaigns.values():
            for cap in other.caps:
                if cap.level == "advertiser" and other.advertiser == campaign.advertiser:
                    found.append((f" advertiser {campaign.advertiser}", cap))
                elif cap.level == "order" and campaign.order is not None and other.order == campaign.order:
                    found.append((f" order {campaign.order}", cap))
                elif cap.level == "creative" and other.id == campaign.id and creative is not None:
                    found.append((f" creative {creative.id}", cap))
                elif cap.level == "campaign" and other.id == campaign.id:
                    found.append((campaign.id, cap))
        return found

    def _limit(self, key: BudgetKey) -> Limit:
        budget_id, period, _ = key
        if budget_id in self.campaigns:
            return self.campaigns[budget_id].budgets.get(period, Limit())
        return self.orders[budget_id.removeprefix(" order ")].limit

    def _used(self, key: BudgetKey) -> Decimal:
        return self.spent[key] + self.held[key]

    def _charge(self, ad: Ad, request: Request) -> None:
        """Charge or hold one ad, and count it; fail if that exceeds anything."""
        is_sold = ad.campaign.billing == "serve"
        if is_sold:
            ad.state = "settled"
        for key in ad.keys:
            assert _room(self._limit(key), self._used(key), self.units[key], ad.campaign.price) > 0, key
            (self.spent if is_sold else self.held)[key] += ad.campaign.price
            self.units[key] += 1
        for count, cap in self.counts(ad.campaign, ad.creative, request).items():
            assert self.seen[count] < cap, count
            self.seen[count] += 1
        if request.session is not None:
            self.played[request.session].add(ad.creative.id)

    def _has_room_for(self, price: Decimal, key: BudgetKey) -> bool:
        """Return whether an ad at this price exceeds neither limit of a budget."""
        limit = self._limit(key)
        return not (
            (limit.amount is not None and self._used(key) + price > limit.amount)
            or (limit.units is not None and self.units[key] >= limit.units)
        )

    def _move(self, ad: Ad, *, settles: bool) -> None:
        """Move the price of an ad from what is held to what is spent, or back to what is left."""
        for key in ad.keys:
            self.held[key] -= ad.campaign.price
            if settles:
                self.spent[key] += ad.campaign.price
            else:
                self.units[key] -= 1

    def _charge_late(self, ad: Ad) -> None:
        """Charge an ad whose hold has expired to the present periods, if all of them have room."""
        campaign = self.campaigns[ad.campaign.id]
        own = [(campaign.id, period, window_start(period, self.now)) for period in PERIODS]
        keys = [*own, *_order_keys(ad.campaign)]
        if campaign.late == "charge" and all(self._has_room_for(ad.campaign.price, key) for key in keys):
            ad.state = "settled"
            for key in keys:
                self.spent[key] += ad.campaign.price
                self.units[key] += 1


def _room(limit: Limit, used: Decimal, units: int, price: Decimal) -> int:
    """Return how many ads of this price a budget has room for: any number of free ones, while something is left."""
    rooms = [ENDLESS]
    if limit.amount is not None:
        left = limit.amount - used
        rooms.append(int(left // price) if price else ENDLESS * (left > 0))
    if limit.units is not None:
        rooms.append(limit.units - units)
    return max(0, min(rooms))


def _order_keys(campaign: Campaign) -> list[BudgetKey]:
    return [] if campaign.order is None else [(f" order {campaign.order}", "lifetime", EPOCH)]
