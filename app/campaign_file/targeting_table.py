"""The targeting of a campaign, as a campaign file has it."""

import re
from datetime import datetime, timedelta
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from app import domain
from app.campaign_file import fields
from app.campaign_file.fields import Identifier, LowerWord, NoDuplicates, first_duplicate, matching
from app.campaign_file.table import LIST_LENGTH_MAX, Table
from app.countries import to_alpha_2
from app.targeting.criteria import lists_of

_REGION = re.compile(r"[A-Za-z]{2}-[A-Za-z0-9]{1,3}", re.ASCII)
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,3}", re.ASCII)
_KV_NAME = re.compile(r"[a-z0-9_.-]{1,64}", re.ASCII)
_WEEK = timedelta(weeks=1)
_QUARTER = timedelta(minutes=15)
"""A step that meets every hour of the day, including when the clock is set forward or back."""


def _with_mark_at_the_end(value: str) -> str:
    if "*" in value[:-1]:
        raise ValueError(f"may have * only at its end, got {fields.quote(value)}")
    if value == "*":
        raise ValueError("must have text before *")
    return value


Region = Annotated[
    str, AfterValidator(matching(_REGION, "must be an ISO 3166-2 code such as US-CA")), AfterValidator(str.lower)
]
Language = Annotated[
    str, AfterValidator(matching(_LANGUAGE, "must be a language such as en or pt-BR")), AfterValidator(str.lower)
]
Prefix = Annotated[LowerWord, AfterValidator(_with_mark_at_the_end)]
"""A value, or the beginning of values, with * at its end."""
PagePrefix = Annotated[
    str,
    Field(min_length=1, max_length=2048),
    fields.Printable,
    AfterValidator(str.lower),
    AfterValidator(_with_mark_at_the_end),
]
KvName = Annotated[str, AfterValidator(matching(_KV_NAME, "must be lower-case letters, digits, dots, _ and -"))]
Words = Annotated[list[LowerWord], Field(max_length=LIST_LENGTH_MAX), NoDuplicates]


class CriteriaTable(Table):
    """Lists of values that a request must have one of; values are compared in lower case, but ids as they are."""

    countries: Annotated[list[fields.Country], Field(max_length=LIST_LENGTH_MAX), NoDuplicates] = []
    regions: Annotated[list[Region], Field(max_length=LIST_LENGTH_MAX), NoDuplicates] = []
    cities: Words = []
    device_types: Words = []
    os: Words = []
    browsers: Words = []
    languages: Annotated[list[Language], Field(max_length=LIST_LENGTH_MAX), NoDuplicates] = []
    placements: Annotated[list[Identifier], Field(max_length=LIST_LENGTH_MAX), NoDuplicates] = []
    publishers: Annotated[list[Identifier], Field(max_length=LIST_LENGTH_MAX), NoDuplicates] = []
    pages: Annotated[list[PagePrefix], Field(max_length=LIST_LENGTH_MAX), NoDuplicates] = []
    apps: Annotated[list[Prefix], Field(max_length=LIST_LENGTH_MAX), NoDuplicates] = []
    content_genres: Words = []
    keywords: Words = []
    kv: Annotated[dict[KvName, Annotated[Words, Field(min_length=1)]], Field(max_length=domain.KV_NAMES_MAX)] = {}

    def to_criteria(self) -> domain.Criteria:
        """Return the criteria."""
        # Alpha-2 and alpha-3 codes of a country are the same country.
        countries = [*dict.fromkeys(to_alpha_2(code).lower() for code in self.countries)]
        lists = {name: getattr(self, name) for name in domain.CRITERIA}
        return domain.Criteria.from_table(lists | {"countries": countries, "kv": self.kv})


class DaypartTable(Table):
    """Hours of days of the week."""

    days: Annotated[
        list[Annotated[domain.Weekday, Field(strict=False)]], Field(min_length=1, max_length=7), NoDuplicates
    ] = list(domain.Weekday)
    from_hour: Annotated[int, Field(ge=0, le=23)] = 0
    until_hour: Annotated[int, Field(ge=1, le=24)] = 24

    @field_validator("until_hour")
    @classmethod
    def ends_after_it_starts(cls, until_hour: int, info: ValidationInfo) -> int:
        """Reject an empty span; a night is two dayparts."""
        if until_hour <= info.data.get("from_hour", -1):
            raise ValueError("must be after from_hour; write a span over midnight as two dayparts")
        return until_hour

    def contains(self, moment: datetime) -> bool:
        """Whether the moment, in its own timezone, is in one of the hours."""
        return list(domain.Weekday)[moment.weekday()] in self.days and self.from_hour <= moment.hour < self.until_hour


class TargetingTable(CriteriaTable):
    """The targeting of a campaign: criteria, those that a request must not meet, and hours."""

    exclude: CriteriaTable = Field(CriteriaTable(), alias="not")
    dayparts: Annotated[list[DaypartTable], Field(max_length=LIST_LENGTH_MAX)] = []
    daypart_clock: Annotated[domain.DaypartClock, Field(strict=False)] = domain.DaypartClock.CAMPAIGN

    @model_validator(mode="after")
    def does_not_contradict_itself(self) -> Self:
        """Reject a value that a request must have and must not have."""
        excluded = dict(lists_of(self.exclude.to_criteria()))
        for name, values in lists_of(self.to_criteria()):
            if value := first_duplicate([*values, *excluded.get(name, ())]):
                raise ValueError(f"{name} has {fields.quote(value)}, which not.{name} has too")
        return self

    def may_match_between(self, starts_at: datetime, ends_at: datetime, timezone: str) -> bool:
        """Whether one of the dayparts has a time in this flight, by the clock of the campaign's timezone."""
        if not self.dayparts or self.daypart_clock is domain.DaypartClock.VIEWER or ends_at - starts_at >= _WEEK:
            return True
        last = ends_at - datetime.resolution
        quarters = range((ends_at - starts_at) // _QUARTER + 2)
        moments = (min(starts_at + quarter * _QUARTER, last).astimezone(ZoneInfo(timezone)) for quarter in quarters)
        return any(daypart.contains(moment) for moment in moments for daypart in self.dayparts)

    def to_domain(self) -> domain.Targeting:
        """Return the targeting."""
        dayparts = tuple(
            domain.Daypart(tuple(daypart.days), daypart.from_hour, daypart.until_hour) for daypart in self.dayparts
        )
        return domain.Targeting(self.to_criteria(), self.exclude.to_criteria(), dayparts, self.daypart_clock)
