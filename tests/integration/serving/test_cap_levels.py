"""Caps of creatives, orders and advertisers, and windows of any length, as the statements count them."""

from collections.abc import AsyncIterator
from datetime import datetime
from uuid import uuid4

import pytest
from asyncpg import Connection, Record

from app.store import caps, limit_status
from app.store.candidate_checks import check_candidates
from app.store.caps import CapIncrement
from tests.campaigns import order, own_campaign, set_up
from tests.players import connected

USER = uuid4()


@pytest.fixture
async def connection(database: str) -> AsyncIterator["Connection[Record]"]:
    """Two campaigns of an order, of which one sets the caps that they share, and one of another advertiser."""
    shared = [
        {"impressions": 3, "per": "day", "level": "order"},
        {"impressions": 5, "every": "3 days", "level": "advertiser"},
    ]
    await set_up(
        database,
        order("spring"),
        own_campaign("a", order="spring", frequency_caps=shared, timezone="Asia/Tokyo"),
        own_campaign("b", order="spring", timezone="America/Los_Angeles"),
        own_campaign("c", advertiser="Other", frequency_caps=[{"impressions": 1, "per": "day", "level": "creative"}]),
    )
    async with connected(database) as connection:
        yield connection


async def take(
    connection: "Connection[Record]", campaign_id: str, ads: int = 1, *creative_ids: str
) -> list[tuple[str, int]]:
    """Return the counters with too little room, and how many ads each has counted."""
    taken = await caps.take(connection, [CapIncrement(campaign_id, USER, None, ads, creative_ids)])
    return sorted((short.counter, short.ads) for short in taken.shortfalls)


async def counts(connection: "Connection[Record]") -> dict[str, int]:
    return dict(await connection.fetch("SELECT campaign_id, count FROM frequency_caps"))


async def test_campaigns_share_the_count_of_their_order_and_advertiser(connection: "Connection[Record]") -> None:
    assert await take(connection, "a", 2) == []
    assert await take(connection, "b") == []
    assert await counts(connection) == {" order spring": 3, " advertiser Acme": 3}
    assert await take(connection, "b", 3) == [(" advertiser Acme", 2), (" order spring", 0)]


async def test_the_pre_check_knows_what_the_campaigns_share(connection: "Connection[Record]") -> None:
    await take(connection, "a", 3)
    checked = await check_candidates(connection, ["a", "b", "c"], [USER] * 3, [None] * 3)
    assert checked.refusals == {0: "frequency_cap", 1: "frequency_cap"}


async def test_each_creative_is_counted(connection: "Connection[Record]") -> None:
    assert await take(connection, "c", 1, "x") == []
    assert await take(connection, "c", 2, "x", "y") == [(" creative x", 0)]
    assert await counts(connection) == {" creative x": 1, " creative y": 1}


async def test_what_was_not_paid_for_is_given_back_at_every_level(connection: "Connection[Record]") -> None:
    increments = [CapIncrement("a", USER, None, 2), CapIncrement("c", USER, None, 2, ("x", "y"))]
    taken = await caps.take(connection, increments)
    assert taken.shortfalls == []
    await caps.give_back(connection, increments, [1, 1], [(), ("y",)], [])
    assert await counts(connection) == {
        " order spring": 1,
        " advertiser Acme": 1,
        " creative x": 0,
        " creative y": 1,
    }


async def test_the_status_of_each_level_is_told(connection: "Connection[Record]") -> None:
    await take(connection, "a", 2)
    status = await limit_status.read_cap_status(connection, ["b", "c"], USER, None)
    assert [(cap.campaign_id, cap.level, cap.creative_id, cap.window, cap.count, cap.cap) for cap in status] == [
        ("b", "advertiser", None, "3 days", 2, 5),
        ("b", "order", None, "day", 2, 3),
        ("c", "creative", "c-15s", "day", 0, 1),
    ]


@pytest.mark.parametrize(
    ("window", "at", "timezone", "start", "end"),
    [
        ("90 minutes", "2026-03-08T10:31:00Z", "Asia/Tokyo", "2026-03-08T10:30:00Z", "2026-03-08T12:00:00Z"),
        ("1 minute", "2026-03-08T10:31:59Z", "UTC", "2026-03-08T10:31:00Z", "2026-03-08T10:32:00Z"),
        ("6 hours", "2026-03-08T10:31:00Z", "America/New_York", "2026-03-08T06:00:00Z", "2026-03-08T12:00:00Z"),
        # Day 20520 since 1970; the clocks change on the 8th.
        ("3 days", "2026-03-08T12:00:00Z", "America/New_York", "2026-03-08T05:00:00Z", "2026-03-11T04:00:00Z"),
        ("3 days", "2026-03-10T12:00:00Z", "America/New_York", "2026-03-08T05:00:00Z", "2026-03-11T04:00:00Z"),
        # Cairo skips midnight of the 24th.
        ("1 day", "2026-04-24T10:00:00Z", "Africa/Cairo", "2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"),
        ("week", "2026-03-11T00:00:00Z", "UTC", "2026-03-09T00:00:00Z", "2026-03-16T00:00:00Z"),
    ],
)
async def test_windows_of_any_length(
    connection: "Connection[Record]", window: str, at: str, timezone: str, start: str, end: str
) -> None:
    row = await connection.fetchrow(
        "SELECT s AS start, cap_window_end($1, s, $3) AS end FROM cap_window_start($1, $2, $3) AS s",
        window,
        datetime.fromisoformat(at),
        timezone,
    )
    assert row is not None
    assert (row["start"], row["end"]) == (datetime.fromisoformat(start), datetime.fromisoformat(end))
