"""The criteria of a campaign's targeting beside what a request has of each, as lines of text."""

from collections.abc import Iterator
from datetime import datetime

from app.domain import Campaign, Daypart
from app.targeting.criteria import Facts, lists_of
from app.targeting.matcher import CompiledTargeting
from app.targeting.viewer import Viewer

SHOWN_MAX = 10
"""Values of a list that are shown."""


def targeting_facts(campaign: Campaign, facts: Facts, viewer: Viewer, now: datetime) -> Iterator[str]:
    """Yield a line for each criterion."""
    targeting = campaign.targeting
    for name, values in lists_of(targeting.include):
        yield f"targeting: {name} must be one of {_some(values)}; the request has {_some(facts.get(name, ()))}"
    for name, values in lists_of(targeting.exclude):
        yield f"targeting: {name} must be none of {_some(values)}; the request has {_some(facts.get(name, ()))}"
    if targeting.dayparts:
        clock = CompiledTargeting(targeting, campaign.timezone).clock(viewer)
        hours = ", ".join(_daypart(daypart) for daypart in targeting.dayparts)
        yield f"targeting: hours must be {hours}; it is {now.astimezone(clock):%a %H:%M} in {clock}"


def _some(values: tuple[str, ...]) -> str:
    shown = ", ".join(values[:SHOWN_MAX])
    more = len(values) - SHOWN_MAX
    return f"{shown} and {more} more" if more > 0 else shown or "none"


def _daypart(daypart: Daypart) -> str:
    return f"{'/'.join(daypart.days)} {daypart.from_hour:02}-{daypart.until_hour:02}"
