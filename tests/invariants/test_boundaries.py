"""Both sides of every boundary in time: caps, budgets, pacing and flights, in the campaign's timezone.

Moments are in UTC. A window that begins at the one moment ends with the microsecond before the other.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count

import asyncpg
import pytest

from app.domain import NoFillReason
from app.embedded import EmbeddedPostgres
from app.serving.outcomes import NoFill
from tests.campaigns import own_campaign, set_up
from tests.clock import set_clock
from tests.invariants.world import Server, running
from tests.players import connected, disagreements
from tests.postgres import cloned_database

INSTANT = timedelta(microseconds=1)

DAYS = [
    pytest.param("UTC", "2026-06-15 00:00", "2026-06-16 00:00", id="UTC"),
    pytest.param("Asia/Kathmandu", "2026-06-14 18:15", "2026-06-15 18:15", id="a quarter of an hour off"),
    pytest.param("Pacific/Kiritimati", "2026-06-14 10:00", "2026-06-15 10:00", id="14 hours ahead"),
    pytest.param("Europe/Berlin", "2026-03-28 23:00", "2026-03-29 22:00", id="23 hours in spring"),
    pytest.param("Europe/Berlin", "2026-10-24 22:00", "2026-10-25 23:00", id="25 hours in autumn"),
    pytest.param("America/New_York", "2026-03-08 05:00", "2026-03-09 04:00", id="23 hours west"),
    pytest.param("America/New_York", "2026-11-01 04:00", "2026-11-02 05:00", id="25 hours west"),
    pytest.param("America/Santiago", "2026-09-06 04:00", "2026-09-07 03:00", id="a day without midnight"),
    pytest.param("America/Santiago", "2026-04-05 04:00", "2026-04-06 04:00", id="after a day with two midnights"),
    pytest.param("UTC", "2026-12-31 00:00", "2027-01-01 00:00", id="the last of the year"),
    pytest.param("UTC", "2028-02-29 00:00", "2028-03-01 00:00", id="a leap day"),
]
WEEKS = [
    pytest.param("UTC", "2026-06-15 00:00", "2026-06-22 00:00", id="from Monday on"),
    pytest.param("Europe/Berlin", "2026-03-22 23:00", "2026-03-29 22:00", id="an hour short"),
    pytest.param("Europe/Berlin", "2026-10-18 22:00", "2026-10-25 23:00", id="an hour long"),
    pytest.param("America/New_York", "2026-12-28 05:00", "2027-01-04 05:00", id="over New Year"),
]
MONTHS = [
    pytest.param("UTC", "2026-02-01 00:00", "2026-03-01 00:00", id="28 days"),
    pytest.param("UTC", "2028-02-01 00:00", "2028-03-01 00:00", id="29 days"),
    pytest.param("Europe/Berlin", "2026-02-28 23:00", "2026-03-31 22:00", id="an hour short"),
    pytest.param("America/New_York", "2026-11-01 04:00", "2026-12-01 05:00", id="an hour long"),
    pytest.param("Pacific/Kiritimati", "2026-12-31 10:00", "2027-01-31 10:00", id="14 hours ahead"),
]
HOURS = [
    pytest.param("UTC", "2026-06-15 09:00", "2026-06-15 10:00", id="UTC"),
    pytest.param("Europe/Berlin", "2026-10-25 00:00", "2026-10-25 01:00", id="of two with one name the first"),
    pytest.param("Europe/Berlin", "2026-10-25 01:00", "2026-10-25 02:00", id="of two with one name the second"),
    pytest.param("Asia/Kolkata", "2026-06-15 09:00", "2026-06-15 10:00", id="the world's, not the timezone's"),
]
MINUTES = [pytest.param("Europe/Berlin", "2026-06-15 09:59", "2026-06-15 10:00", id="one")]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class AdRequester:
    """Requests ads of one campaign at moments that the test chooses."""

    def __init__(self, url: str, server: Server, campaign_id: str) -> None:
        self._url = url
        self._server = server
        self.campaign_id = campaign_id

    async def at(self, when: datetime) -> str | None:
        """The reason for the lack of an ad at that moment; None if there was an ad."""
        await set_clock(self._url, when.isoformat())
        outcome = await self._server.ask(campaign_id=self.campaign_id, user_id="u")
        return outcome.reason.value if isinstance(outcome, NoFill) else None

    async def ads_at(self, when: datetime) -> int:
        """The number of ads until there were no more."""
        ads = 0
        while await self.at(when) is None:
            ads += 1
        return ads

    async def is_repeat(self, when: datetime, request_id: str) -> bool:
        """Whether the request gets its earlier ad at that moment."""
        await set_clock(self._url, when.isoformat())
        return (await self._server.served(campaign_id=self.campaign_id, request_id=request_id)).repeat

    async def rows(self, query: str) -> list[asyncpg.Record]:
        """The result of a query with the campaign's id as its parameter."""
        async with connected(self._url) as connection:
            rows: list[asyncpg.Record] = await connection.fetch(query, self.campaign_id)
        return rows


Asking = Callable[..., AbstractAsyncContextManager[AdRequester]]


@pytest.fixture(scope="module")
async def asking(postgres: EmbeddedPostgres, migrated_template: str) -> AsyncIterator[Asking]:
    """Sets up a campaign with the given values; all share a database and a server."""
    numbers = count(1)
    async with cloned_database(postgres, migrated_template) as url, running(url) as server:

        @asynccontextmanager
        async def set_up_one(**values: object) -> AsyncIterator[AdRequester]:
            campaign_id = f"campaign{next(numbers)}"
            await set_up(url, own_campaign(campaign_id, **values))
            yield AdRequester(url, server, campaign_id)

        yield set_up_one
        assert await disagreements(url) == []


def each(**windows: list[object]) -> pytest.MarkDecorator:
    """The test with each timezone and pair of moments, by window."""
    return pytest.mark.parametrize(
        ("window", "timezone", "begins", "ends"),
        [
            pytest.param(name, *case.values, id=f"{name}: {case.id}")  # type: ignore[attr-defined]
            for name, cases in windows.items()
            for case in cases
        ],
    )


@each(minute=MINUTES, hour=HOURS, day=DAYS, week=WEEKS, month=MONTHS)
async def test_a_cap_counts_from_the_first_to_the_last_instant_of_its_window(
    asking: Asking, window: str, timezone: str, begins: str, ends: str
) -> None:
    caps = [{"impressions": 1, "per": window}]
    async with asking(timezone=timezone, frequency_caps=caps) as player:
        assert await player.at(moment(begins) - INSTANT) is None
        assert await player.at(moment(begins)) is None
        assert await player.at(moment(ends) - INSTANT) == "frequency_cap"
        assert await player.at(moment(ends)) is None
        rows = await player.rows(
            "SELECT window_start, expires_at FROM frequency_caps WHERE campaign_id = $1 ORDER BY window_start"
        )
    assert [row["window_start"] for row in rows][1:] == [moment(begins), moment(ends)]
    assert [row["expires_at"] for row in rows][:2] == [moment(begins), moment(ends)]


@each(hour=HOURS, day=DAYS)
async def test_a_budget_lasts_from_the_first_to_the_last_instant_of_its_period(
    asking: Asking, window: str, timezone: str, begins: str, ends: str
) -> None:
    async with asking(timezone=timezone, cpm="1000", budgets={window: "2"}) as player:
        assert await player.at(moment(begins) - INSTANT) is None
        assert await player.at(moment(begins)) is None
        assert await player.at(moment(ends) - INSTANT) is None
        assert await player.at(moment(ends) - INSTANT) == "budget"
        assert await player.at(moment(ends)) is None


async def test_the_last_unit_that_fits_is_served_and_the_next_is_not(asking: Asking) -> None:
    budgets = {"lifetime": "0.000003", "day": "0.000002"}
    async with asking(cpm="0.001", budgets=budgets) as player:
        assert await player.ads_at(moment("2026-06-15 23:59")) == 2
        assert await player.at(moment("2026-06-15 23:59")) == "budget"
        assert await player.ads_at(moment("2026-06-16 00:00")) == 1


async def test_a_flight_has_its_first_instant_and_not_its_end(asking: Asking) -> None:
    begins, ends = moment("2026-06-01 10:00"), moment("2026-07-01 10:00")
    async with asking(starts_at=begins.isoformat(), ends_at=ends.isoformat()) as player:
        assert await player.at(begins - INSTANT) == "flight"
        assert await player.at(begins) is None
        assert await player.at(ends - INSTANT) is None
        assert await player.at(ends) == "flight"


async def test_a_request_asked_again_is_the_same_for_a_day_and_no_instant_longer(asking: Asking) -> None:
    async with asking(cpm="1000", budgets={"lifetime": "9"}) as player:
        first = moment("2026-06-15 21:00")
        second = first + timedelta(days=1)
        assert not await player.is_repeat(first, "r")
        assert await player.is_repeat(second - INSTANT, "r")
        assert not await player.is_repeat(second, "r")
        assert await player.is_repeat(second + timedelta(days=1) - INSTANT, "r")


@pytest.mark.parametrize("billing", ["serve", "impression"])
async def test_an_even_lifetime_budget_grows_linearly_over_the_flight(asking: Asking, billing: str) -> None:
    """Ten ads in ten days: one a day, at the same time of each day."""
    begins = moment("2026-06-01 10:00")
    flight = {"starts_at": begins.isoformat(), "ends_at": (begins + timedelta(days=10)).isoformat()}
    even = {"pacing": "even", "cpm": "1000", "budgets": {"lifetime": "10"}, "billing": billing}
    async with asking(**flight, **even) as player:
        assert await player.at(begins) == "pacing"
        assert await player.at(begins + timedelta(days=1) - INSTANT) == "pacing"
        assert await player.ads_at(begins + timedelta(days=1)) == 1
        assert await player.ads_at(begins + timedelta(days=5)) == 4
        assert await player.ads_at(begins + timedelta(days=10) - INSTANT) == 4
        assert await player.at(begins + timedelta(days=10)) == "flight"


@pytest.mark.parametrize("goal", ["amount", "impressions"])
async def test_front_pacing_is_ahead_by_its_percentage_and_never_beyond_the_limit(asking: Asking, goal: str) -> None:
    """Ten ads in ten days, a quarter ahead: the fifth after four days, and the last two days early."""
    begins = moment("2026-06-01 10:00")
    flight = {"starts_at": begins.isoformat(), "ends_at": (begins + timedelta(days=10)).isoformat()}
    budgets = {"lifetime": {"amount": "10"} if goal == "amount" else {"impressions": 10}}
    async with asking(**flight, pacing="front", front_percent=25, cpm="1000", budgets=budgets) as player:
        assert await player.at(begins) == "pacing"
        assert await player.at(begins + timedelta(hours=19)) == "pacing"
        assert await player.ads_at(begins + timedelta(hours=20)) == 1
        assert await player.ads_at(begins + timedelta(days=4) - INSTANT) == 3
        assert await player.ads_at(begins + timedelta(days=4)) == 1
        assert await player.ads_at(begins + timedelta(days=8)) == 5
        assert await player.at(begins + timedelta(days=9)) == "budget"


async def test_front_pacing_of_a_day_is_ahead_in_the_campaigns_own_day(asking: Asking) -> None:
    begins = moment("2026-06-15 00:00")
    async with asking(pacing="front", front_percent=100, budgets={"day": {"impressions": 24}}) as player:
        assert await player.ads_at(begins + timedelta(hours=1)) == 2
        assert await player.ads_at(begins + timedelta(hours=12)) == 22
        assert await player.at(begins + timedelta(hours=23)) == "budget"
        assert await player.at(begins + timedelta(hours=24)) == "pacing"


@pytest.mark.parametrize(
    ("timezone", "begins", "hours"),
    [
        ("UTC", "2026-06-15 00:00", 24),
        ("Europe/Berlin", "2026-03-28 23:00", 23),
        ("Europe/Berlin", "2026-10-24 22:00", 25),
    ],
)
async def test_an_even_day_budget_grows_linearly_over_the_campaigns_own_day(
    asking: Asking, timezone: str, begins: str, hours: int
) -> None:
    """One ad for each hour of the day."""
    even = {"pacing": "even", "cpm": "1000", "budgets": {"day": str(hours)}, "timezone": timezone}
    async with asking(**even) as player:

        async def spent() -> Decimal:
            rows = await player.rows("SELECT period_start, spent FROM budget_tracking WHERE campaign_id = $1")
            amount: Decimal = dict(rows)[moment(begins)]
            return amount

        assert await player.at(moment(begins)) == "pacing"
        for hour in (1, 2, 12, hours - 1):
            due = moment(begins) + timedelta(hours=hour)
            await player.ads_at(due - INSTANT)
            assert await spent() == hour - 1
            await player.ads_at(due + INSTANT)
            assert await spent() == hour
        assert await player.at(moment(begins) + timedelta(hours=hours)) == "pacing"


async def test_an_even_campaign_that_was_behind_catches_up_within_its_hours_budget(asking: Asking) -> None:
    begins = moment("2026-06-15 00:00")
    even = {"pacing": "even", "cpm": "1000", "budgets": {"day": "240", "hour": "15"}}
    async with asking(**even) as player:
        assert await player.ads_at(begins + timedelta(hours=12)) == 15
        assert await player.at(begins + timedelta(hours=12)) == "budget"
        assert await player.ads_at(begins + timedelta(hours=13)) == 15


async def test_no_period_begins_for_a_campaign_that_cannot_serve_in_it(database: str) -> None:
    """Only campaigns that serve get new rows, regardless of the number of other campaigns."""
    hourly = {"cpm": "1000", "budgets": {"hour": "9", "day": "9"}}
    await set_clock(database, "2026-06-15 12:00Z")
    await set_up(
        database,
        own_campaign("on", **hourly),
        own_campaign("over", **hourly, ends_at="2026-06-15T12:30:00Z"),
        own_campaign("paused", **hourly, status="paused"),
    )
    async with running(database) as server, connected(database) as connection:
        for at in ("2026-06-15 13:00Z", "2026-06-15 14:00Z", "2026-06-16 00:00Z"):
            await set_clock(database, at)
            await server.served(campaign_id="on")
        rows = await connection.fetch("SELECT campaign_id, count(*) FROM budget_tracking GROUP BY campaign_id")
    assert dict(rows) == {"on": 4 + 2, "over": 1 + 1, "paused": 1 + 1}


async def test_a_day_budget_that_is_added_counts_from_the_first_of_two_midnights(database: str) -> None:
    azores = {"cpm": "1000", "timezone": "Atlantic/Azores"}
    await set_clock(database, "2026-10-25 00:15Z")
    await set_up(database, own_campaign("a", **azores, budgets={"lifetime": "100"}))
    async with running(database) as server:
        await server.served(campaign_id="a")
        await set_clock(database, "2026-10-25 02:15Z")
        await server.served(campaign_id="a")
        await set_up(database, own_campaign("a", **azores, budgets={"lifetime": "100", "day": "3"}))
        await server.served(campaign_id="a")
        assert await server.reason(campaign_id="a") is NoFillReason.BUDGET
    assert await disagreements(database) == []


async def test_every_window_ends_where_the_next_one_begins(database: str) -> None:
    """Over two years, in timezones of every kind, including those with unusual days or offsets."""
    async with connected(database) as connection:
        wrong = await connection.fetch("""
            SELECT w, zone, at, s.begins, e.ends
            FROM unnest(ARRAY['minute', 'hour', 'day', 'week', 'month']) AS w
            CROSS JOIN unnest(ARRAY['UTC', 'Europe/Berlin', 'America/New_York', 'America/Santiago', 'Asia/Kathmandu',
                                    'Australia/Lord_Howe', 'Africa/Cairo', 'Pacific/Apia', 'Asia/Gaza']) AS zone
            CROSS JOIN generate_series(timestamptz '2026-01-01Z', '2028-01-01Z', interval '997 minutes') AS at
            CROSS JOIN LATERAL (SELECT window_start(w, at, zone) AS begins) AS s
            CROSS JOIN LATERAL (SELECT window_end(w, begins, zone) AS ends) AS e
            WHERE NOT (begins <= at AND at < ends)
                OR window_start(w, ends - interval '1 microsecond', zone) <> begins
                OR window_start(w, ends, zone) <> ends
        """)
    assert wrong == []
