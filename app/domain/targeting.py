"""Targeting: which requests a campaign may serve, and at which hours."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

KV_PREFIX = "kv."
"""The beginning of the names of custom parameters."""

KV_NAMES_MAX = 20
"""Custom parameters of one request, and in the targeting of one campaign."""


class Weekday(StrEnum):
    """Day of the week, in the order of `datetime.weekday`."""

    MONDAY = "mon"
    TUESDAY = "tue"
    WEDNESDAY = "wed"
    THURSDAY = "thu"
    FRIDAY = "fri"
    SATURDAY = "sat"
    SUNDAY = "sun"


class DaypartClock(StrEnum):
    """Clock of a campaign's dayparts: that of its timezone, or the viewer's where it is known."""

    CAMPAIGN = "campaign"
    VIEWER = "viewer"


@dataclass(frozen=True, slots=True)
class Daypart:
    """Hours of some days of the week; `until_hour` is exclusive."""

    days: tuple[Weekday, ...] = tuple(Weekday)
    from_hour: int = 0
    until_hour: int = 24


@dataclass(frozen=True, slots=True)
class Criteria:
    """Lists of values in lower case, one for each property of a request; an empty list accepts every value."""

    countries: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    cities: tuple[str, ...] = ()
    device_types: tuple[str, ...] = ()
    os: tuple[str, ...] = ()
    browsers: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    placements: tuple[str, ...] = ()
    publishers: tuple[str, ...] = ()
    pages: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()
    content_genres: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    kv: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Values of custom parameters, by name without the prefix `kv.`."""

    def to_table(self) -> dict[str, Any]:
        """Return the lists that are not empty."""
        return {key: value for key, value in asdict(self).items() if value}

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """Return the criteria of a table as `to_table` returns it; other keys are ignored."""
        lists = {key: tuple(table[key]) for key in CRITERIA if key in table}
        return cls(**lists, kv={name: tuple(values) for name, values in table.get("kv", {}).items()})


CRITERIA = tuple(name for name in Criteria.__dataclass_fields__ if name != "kv")
"""Names of the lists."""


@dataclass(frozen=True, slots=True)
class Targeting:
    """Audience of a campaign: what a request must have, what it must not have, and when."""

    include: Criteria = field(default_factory=Criteria)
    exclude: Criteria = field(default_factory=Criteria)
    dayparts: tuple[Daypart, ...] = ()
    daypart_clock: DaypartClock = DaypartClock.CAMPAIGN

    def to_table(self) -> dict[str, Any]:
        """Return the targeting as a table of a campaign file, without keys that have their default."""
        table = self.include.to_table() | {
            "not": self.exclude.to_table(),
            "dayparts": [asdict(daypart) for daypart in self.dayparts],
        }
        if self.daypart_clock is not DaypartClock.CAMPAIGN:
            table["daypart_clock"] = self.daypart_clock
        return {key: value for key, value in table.items() if value}

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """Return the targeting of a table as `to_table` returns it."""
        return cls(
            Criteria.from_table(table),
            Criteria.from_table(table.get("not", {})),
            tuple(
                Daypart(tuple(Weekday(day) for day in daypart["days"]), daypart["from_hour"], daypart["until_hour"])
                for daypart in table.get("dayparts", ())
            ),
            DaypartClock(table.get("daypart_clock", DaypartClock.CAMPAIGN)),
        )
