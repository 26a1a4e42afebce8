"""Matching of requests with the targeting of campaigns, compiled once for each revision of the catalog."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from app.domain import AdRequest, Campaign, Catalog, Daypart, DaypartClock, Placement, Targeting, Weekday
from app.targeting.criteria import Facts, compile_rules, read_facts
from app.targeting.viewer import Viewer

EVERYBODY = Targeting()
"""Targeting without any criterion."""

NO_CAMPAIGNS: frozenset[str] = frozenset()

_HOURS_A_DAY = 24
_WEEKDAYS = (*Weekday,)


class CompiledTargeting:
    """The targeting of one campaign, as sets."""

    def __init__(self, targeting: Targeting, timezone: str) -> None:
        self.include = compile_rules(targeting.include)
        self._exclude = compile_rules(targeting.exclude)
        self._hours = frozenset(_hours_of(targeting.dayparts))
        self._uses_viewers_clock = targeting.daypart_clock is DaypartClock.VIEWER
        self._timezone = ZoneInfo(timezone)

    def accepts(self, facts: Facts, viewer: Viewer, now: datetime) -> bool:
        """Return whether the request meets all criteria."""
        for rule in self.include:
            if not rule.matches(facts):
                return False
        for rule in self._exclude:
            if rule.matches(facts):
                return False
        return not self._hours or self.is_in_daypart(viewer, now)

    def is_in_daypart(self, viewer: Viewer, now: datetime) -> bool:
        """Return whether now is in one of the dayparts."""
        local = now.astimezone(self.clock(viewer))
        return local.weekday() * _HOURS_A_DAY + local.hour in self._hours

    def clock(self, viewer: Viewer) -> tzinfo:
        """Return the timezone in which the dayparts are for this viewer."""
        known = viewer.timezone if self._uses_viewers_clock else None
        return (known and _find_timezone(known)) or self._timezone


@lru_cache(1024)
def _find_timezone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return None


def _hours_of(dayparts: Sequence[Daypart]) -> Iterator[int]:
    """Yield the hours of the week, counted from Monday."""
    for daypart in dayparts:
        for day in daypart.days:
            midnight = _WEEKDAYS.index(day) * _HOURS_A_DAY
            yield from range(midnight + daypart.from_hour, midnight + daypart.until_hour)


def is_blocked(campaign: Campaign, placement: Placement) -> bool:
    """Return whether the placement blocks the campaign's advertiser or one of its categories."""
    if campaign.advertiser in placement.blocked_advertisers:
        return True
    return any(category in placement.blocked_categories for category in campaign.categories)


class TargetingMatcher:
    """Decides which campaigns of one catalog a request may get."""

    def __init__(self, catalog: Catalog, previous: "TargetingMatcher | None" = None) -> None:
        """Compile the targeting of the campaigns, except those that `previous` has too."""
        self.catalog = catalog
        compiled: Mapping[str, CompiledTargeting] = {} if previous is None else previous.targeted
        former = {} if previous is None else previous.catalog.campaigns
        self.targeted: dict[str, CompiledTargeting] = {
            campaign.id: compiled[campaign.id]
            if former.get(campaign.id) is campaign
            else CompiledTargeting(campaign.targeting, campaign.timezone)
            for campaign in catalog.campaigns.values()
            if campaign.targeting != EVERYBODY
        }
        """The targeting of the campaigns that have any, by id."""
        self._blocked = {
            placement.id: frozenset(
                campaign_id
                for campaign_id in placement.listed_campaigns
                if is_blocked(catalog.campaigns[campaign_id], placement)
            )
            for placement in catalog.placements.values()
            if placement.blocked_advertisers or placement.blocked_categories
        }

    def refused(
        self, request: AdRequest, viewer: Viewer, campaign_ids: Sequence[str], now: Callable[[], datetime]
    ) -> list[str]:
        """Return those of the listed campaigns that the placement blocks or whose targeting the request does not meet.

        The hours of targeting are those of the moment `now()`.
        """
        blocked = self._blocked.get(request.placement_id or "", NO_CAMPAIGNS)
        if self.targeted.keys().isdisjoint(campaign_ids):
            return [campaign_id for campaign_id in campaign_ids if campaign_id in blocked] if blocked else []
        facts, moment = self.facts(request, viewer), now()
        return [
            campaign_id
            for campaign_id in campaign_ids
            if campaign_id in blocked or not self.accepts(campaign_id, facts, viewer, moment)
        ]

    def accepts(self, campaign_id: str, facts: Facts, viewer: Viewer, moment: datetime) -> bool:
        """Return whether the request meets the campaign's targeting."""
        targeting = self.targeted.get(campaign_id)
        return targeting is None or targeting.accepts(facts, viewer, moment)

    def facts(self, request: AdRequest, viewer: Viewer) -> Facts:
        """Return what the request has of each criterion."""
        placement = self.catalog.placements.get(request.placement_id or "")
        return read_facts(request, viewer, None if placement is None else placement.publisher_id)
