"""Frequency caps: what each of them counts, and which of them apply to a campaign."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from app.domain.terms import CapLevel, CapWindow

CAPS_MAX = 8
"""Caps that apply to one ad."""

SHARED_LEVELS = (CapLevel.ORDER, CapLevel.ADVERTISER)
"""Levels at which the ads of several campaigns are counted together, so that a cap applies to all of them."""

_CREATIVE = " creative "


@dataclass(frozen=True, slots=True)
class FrequencyCap:
    """Limit of `impressions` ads per user and window, which is either `per` or `every`."""

    impressions: int
    per: CapWindow | None = None
    """A window of the calendar."""
    every: str | None = None
    """A window of any length, as a number of minutes, hours or days: `90 minutes`."""
    level: CapLevel = CapLevel.CAMPAIGN

    @property
    def window(self) -> str:
        """The window as the database names it."""
        return self.per or self.every or ""


class CapRules(NamedTuple):
    """The caps that apply to a campaign, its own and those that it shares."""

    caps_count: int
    needs_user: bool
    needs_session: bool
    is_plain: bool
    """Whether it has only caps of its own over windows of the calendar, which take a shorter statement."""
    counters: tuple[str, ...]
    """Keys of the counts that an ad of the campaign changes."""


class Capped(Protocol):
    """A campaign, as far as its caps are concerned."""

    @property
    def id(self) -> str:
        """The id."""

    @property
    def advertiser(self) -> str:
        """The id of its advertiser."""

    @property
    def order(self) -> str | None:
        """The id of its order."""

    @property
    def frequency_caps(self) -> tuple[FrequencyCap, ...]:
        """The caps that are set for it."""


def counter(campaign: Capped, level: CapLevel) -> str:
    """Return the key under which the ads of a campaign are counted at this level. No id begins with a space.

    The key of the level of creatives is the campaign's; each creative has `creative_counter` beside it.
    """
    if level is CapLevel.ADVERTISER:
        return f" advertiser {campaign.advertiser}"
    if level is CapLevel.ORDER and campaign.order is not None:
        return f" order {campaign.order}"
    return campaign.id


def creative_counter(creative_id: str) -> str:
    """Return the key under which the ads of a creative are counted."""
    return f"{_CREATIVE}{creative_id}"


def is_creative_counter(key: str) -> bool:
    """Return whether the key is that of a creative."""
    return key.startswith(_CREATIVE)


def cap_rules(campaigns: Iterable[Capped]) -> dict[str, CapRules]:
    """Return the rules of every campaign that has a cap, by campaign id.

    A cap of an order or an advertiser applies to all of its campaigns, even if only one of them sets it.
    """
    everybody = [*campaigns]
    shared: defaultdict[str, list[FrequencyCap]] = defaultdict(list)
    for campaign in everybody:
        for cap in campaign.frequency_caps:
            if cap.level in SHARED_LEVELS:
                shared[counter(campaign, cap.level)].append(cap)
    return {campaign.id: rules for campaign in everybody if (rules := _rules(campaign, shared)) is not None}


def _applied_caps(campaign: Capped, shared: Mapping[str, list[FrequencyCap]]) -> list[FrequencyCap]:
    """Return the caps that apply to a campaign: its own, and those of its order and its advertiser."""
    own = [cap for cap in campaign.frequency_caps if cap.level not in SHARED_LEVELS]
    return own + [cap for level in SHARED_LEVELS for cap in shared.get(counter(campaign, level), ())]


def _rules(campaign: Capped, shared: Mapping[str, list[FrequencyCap]]) -> CapRules | None:
    caps = _applied_caps(campaign, shared) if shared else campaign.frequency_caps
    if not caps:
        return None
    is_for_session = [cap.per is CapWindow.SESSION for cap in caps]
    return CapRules(
        caps_count=len({(cap.level, cap.window) for cap in caps}),
        needs_user=not all(is_for_session),
        needs_session=any(is_for_session),
        is_plain=all(cap.level is CapLevel.CAMPAIGN and cap.every is None for cap in caps),
        counters=tuple({counter(campaign, cap.level) for cap in caps}),
    )
