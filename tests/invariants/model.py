"""A model of the rules of serving in plain Python, one request after the other, to compare the database with."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PERIODS = ("hour", "day", "lifetime")
Request = tuple[tuple[str, ...], str | None]
"""The parts of a request that its retries must repeat: candidates and user."""


@dataclass(frozen=True)
class Campaign:
    """A campaign's present definition."""

    id: str
    starts_at: datetime
    ends_at: datetime
    timezone: str = "UTC"
    status: str = "active"
    price: Decimal = Decimal(0)
    billing: str = "serve"
    pacing: str = "asap"
    without_user: str = "skip"
    hold_ttl: timedelta = timedelta(hours=1)
    budgets: Mapping[str, Decimal] = field(default_factory=dict)
    units: Mapping[str, int] = field(default_factory=dict)
    """The number of ads that may be served in each period."""
    caps: Mapping[str, int] = field(default_factory=dict)
    upstreams: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ad:
    """An ad that was served; `starts` has the budget periods that it counts in."""

    request: Request
    campaign: Campaign
    served_at: datetime
    starts: Mapping[str, datetime]


@dataclass(frozen=True)
class Answer:
    """The campaign of the ad, or None and all acceptable reasons; a conflict has neither."""

    campaign_id: str | None = None
    reasons: frozenset[str] = frozenset()


def window_start(window: str, at: datetime, timezone: str) -> datetime:
    """Return the start of the window that contains `at`: minutes and hours in UTC, others in its timezone."""
    if window == "lifetime":
        return EPOCH
    if window in ("minute", "hour"):
        return at.replace(minute=at.minute if window == "minute" else 0, second=0, microsecond=0)
    zone = ZoneInfo(timezone)
    day = at.astimezone(zone).date()
    first = {"day": day, "week": day - timedelta(days=day.weekday()), "month": day.replace(day=1)}[window]
    return datetime.combine(first, time(), zone).astimezone(UTC)


class Model:
    """The amounts spent and held, the counts, and the serves."""

    def __init__(self, now: datetime, *campaigns: Campaign) -> None:
        self.now = now
        self.campaigns = {campaign.id: campaign for campaign in campaigns}
        self.upstream_fills = True
        self.spent: defaultdict[tuple[str, str, datetime], Decimal] = defaultdict(Decimal)
        self.held: defaultdict[tuple[str, str, datetime], Decimal] = defaultdict(Decimal)
        self.units: Counter[tuple[str, str, datetime]] = Counter()
        """The number of ads charged or held."""
        self.seen: Counter[tuple[str, str, str, datetime]] = Counter()
        self.served: dict[str, Ad] = {}
        """By request id; a request that was served again a day later has its newest ad."""
        self.holds: dict[tuple[str, datetime], Ad] = {}
        """By request id and the time of the serve."""

    def ask(self, request_id: str, candidates: tuple[str, ...], user_id: str | None) -> Answer:
        """Serve the first candidate that no rule refuses; a repeat changes nothing."""
        request = (candidates, user_id)
        earlier = self.served.get(request_id)
        if earlier and earlier.served_at > self.now - timedelta(days=1):
            return Answer(earlier.campaign.id) if earlier.request == request else Answer()
        for campaign in map(self.campaigns.__getitem__, candidates):
            if not self._refusals(campaign, user_id):
                self._serve(request_id, request, campaign, user_id)
                return Answer(campaign.id)
        return Answer(None, frozenset(self._refusals(self.campaigns[candidates[0]], user_id)))

    def end_hold(self, request_id: str, *, seen: bool) -> None:
        """Settle the newest ad of that request for an impression or an error."""
        ad = self.served[request_id]
        if self.holds.pop((request_id, ad.served_at), None):
            self._release(ad, seen=seen)

    def sweep(self) -> None:
        """Release the holds that have expired."""
        for key, ad in list(self.holds.items()):
            if ad.served_at + ad.campaign.hold_ttl <= self.now:
                del self.holds[key]
                self._release(ad, seen=False)

    def _release(self, ad: Ad, *, seen: bool) -> None:
        for period, start in ad.starts.items():
            self.held[ad.campaign.id, period, start] -= ad.campaign.price
            if seen:
                self.spent[ad.campaign.id, period, start] += ad.campaign.price
            else:
                self.units[ad.campaign.id, period, start] -= 1

    def _refusals(self, campaign: Campaign, user_id: str | None) -> set[str]:
        found = set()
        if campaign.status != "active":
            found.add("paused")
        if not campaign.starts_at <= self.now < campaign.ends_at:
            found.add("flight")
        if campaign.upstreams and not self.upstream_fills:
            found.add("upstream")
        if campaign.caps and user_id is None and campaign.without_user == "skip":
            found.add("no_user")
        for window, cap in campaign.caps.items():
            if user_id is not None and self.seen[self._count_key(campaign, user_id, window)] >= cap:
                found.add("frequency_cap")
        for period, limit in campaign.budgets.items():
            key = (campaign.id, period, window_start(period, self.now, campaign.timezone))
            used = self.spent[key] + self.held[key]
            found |= self._over(campaign, period, used, campaign.price, limit)
        for period, limit in campaign.units.items():
            key = (campaign.id, period, window_start(period, self.now, campaign.timezone))
            found |= self._over(campaign, period, Decimal(self.units[key]), Decimal(1), Decimal(limit))
        return found

    def _over(self, campaign: Campaign, period: str, used: Decimal, wanted: Decimal, limit: Decimal) -> set[str]:
        """Return whether a limit has too little left; a free ad needs a limit that is not used up."""
        if used >= limit or used + wanted > limit:
            return {"budget"}
        if campaign.pacing == "even":
            by_now = Fraction(limit) * self._elapsed(campaign, period)
            if used >= by_now or used + wanted > by_now:
                return {"pacing"}
        return set()

    def _elapsed(self, campaign: Campaign, period: str) -> Fraction:
        """Return the elapsed fraction of the flight; the model paces lifetime budgets only."""
        assert period == "lifetime"
        gone, whole = self.now - campaign.starts_at, campaign.ends_at - campaign.starts_at
        return Fraction(int(gone.total_seconds()), int(whole.total_seconds()))

    def _serve(self, request_id: str, request: Request, campaign: Campaign, user_id: str | None) -> None:
        starts = {period: window_start(period, self.now, campaign.timezone) for period in PERIODS}
        ad = self.served[request_id] = Ad(request, campaign, self.now, starts)
        if campaign.billing == "impression":
            self.holds[request_id, self.now] = ad
        used = self.held if campaign.billing == "impression" else self.spent
        for period, start in starts.items():
            used[campaign.id, period, start] += campaign.price
            self.units[campaign.id, period, start] += 1
        for window in campaign.caps if user_id is not None else ():
            self.seen[self._count_key(campaign, user_id or "", window)] += 1

    def _count_key(self, campaign: Campaign, user_id: str, window: str) -> tuple[str, str, str, datetime]:
        return user_id, campaign.id, window, window_start(window, self.now, campaign.timezone)
