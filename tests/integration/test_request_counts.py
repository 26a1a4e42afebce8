"""Outcomes of requests in finance's views."""

from datetime import UTC, datetime
from decimal import Decimal

import asyncpg

from app.domain import Client
from app.observability.request_counts import PLACES_MAX, RequestCounts
from app.store.connections import Store
from app.targeting.viewer import ViewerReader
from tests.campaigns import own_campaign, placement, publisher, set_up
from tests.integration.serves import open_store
from tests.players import Players, connected, serving

OUTCOMES = [*(["served"] * 5), *(["budget"] * 2), "frequency_cap", "repeat", "error"]

VALUES = {"placement_id": "preroll", "country": "DEU", "device_type": "CTV"}
PLACE = "coalesce(placement_id, '-'), coalesce(publisher_id, '-'), coalesce(country, '-'), coalesce(device_type, '-')"
BY_PLACE = (
    f"SELECT {PLACE}, sum(requests)::integer FROM finance.delivery_hourly GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
)


def counts_of(store: Store) -> RequestCounts:
    counts = RequestCounts(store, ViewerReader())
    counts.requests_finished([(datetime.now(UTC), "", 200, outcome, 0.001, VALUES, Client()) for outcome in OUTCOMES])
    return counts


async def test_requests_of_all_workers_make_the_days_fill_rate(app_database: str, finance_database: str) -> None:
    store = open_store(app_database)
    for worker in (counts_of(store), counts_of(store)):
        worker.start()
        await worker.stop()
    await store.close()
    finance = await asyncpg.connect(finance_database)
    days = await finance.fetch("SELECT * FROM finance.fill_rate_daily")
    reasons = await finance.fetch("SELECT reason, requests FROM finance.no_fill_daily ORDER BY reason")
    await finance.close()
    assert [tuple(day) for day in days] == [(datetime.now(UTC).date(), 16, 10, Decimal("62.50"))]
    assert [tuple(reason) for reason in reasons] == [("budget", 4), ("frequency_cap", 2)]


async def test_what_the_database_cannot_take_now_is_written_down_later_and_once(
    database: str, app_database: str
) -> None:
    owner = await asyncpg.connect(database)
    store = open_store(app_database)
    counts = counts_of(store)
    await owner.execute("ALTER TABLE requests_daily RENAME TO elsewhere")
    await counts.write()
    await owner.execute("ALTER TABLE elsewhere RENAME TO requests_daily")
    await counts.write()
    await counts.write()
    assert await owner.fetchval("SELECT sum(requests) FROM requests_daily") == len(OUTCOMES)
    assert await owner.fetchval("SELECT sum(requests) FROM requests_hourly") == len(OUTCOMES) - 2
    await store.close()
    await owner.close()


async def test_a_server_that_stops_has_written_down_what_it_answered(database: str, app_database: str) -> None:
    await set_up(database, own_campaign("own"), own_campaign("paused", status="paused"))
    async with serving(app_database, WORKERS="2") as server, Players(server.url) as players:
        await players.ask_all([{"campaign_id": "own"}] * 5 + [{"campaign_id": "paused"}] * 2)
        await players.ask(campaign_id="own", request_id="r1")
        await players.ask(campaign_id="own", request_id="r1")
    async with connected(database) as owner:
        outcomes = dict(await owner.fetch("SELECT outcome, requests FROM requests_daily"))
    assert outcomes == {"served": 6, "repeat": 1, "paused": 2}


async def test_requests_are_counted_by_place_and_those_that_repeat_are_not(
    database: str, app_database: str, finance_database: str
) -> None:
    await set_up(database, publisher("tv"), own_campaign("own"), placement("preroll", "own", publisher_id="tv"))
    german = {"placement_id": "preroll", "country": "de", "device_type": "CTV"}
    async with serving(app_database, WORKERS="2") as server, Players(server.url) as players:
        await players.ask_all([german] * 3 + [{"placement_id": "preroll"}] * 2 + [{"campaign_id": "own"}])
        for _ in range(2):
            await players.ask(request_id="r1", country="FR", placement_id="preroll")
        assert (await players.ask(placement_id="unknown")).status == 400
    async with connected(finance_database) as finance:
        places = [tuple(row) for row in await finance.fetch(BY_PLACE) if row[-1]]
    assert places == [
        ("-", "-", "-", "-", 1),
        ("preroll", "tv", "-", "-", 2),
        ("preroll", "tv", "DE", "ctv", 3),
        ("preroll", "tv", "FR", "-", 1),
    ]


async def test_made_up_places_make_no_rows_of_their_own(database: str, app_database: str) -> None:
    store = open_store(app_database)
    counts = RequestCounts(store, ViewerReader())
    places = [{"placement_id": f"p{number}", "device_type": f"d{number}"} for number in range(PLACES_MAX + 50)]
    counts.requests_finished([(datetime.now(UTC), "", 200, "rate_limit", 0.001, place, Client()) for place in places])
    await counts.write()
    await store.close()
    async with connected(database) as owner:
        rows = await owner.fetch("SELECT placement_id, device_type, requests FROM requests_hourly")
    assert len(rows) == PLACES_MAX + 1
    assert {row["placement_id"] for row in rows} == {None}
    assert [row["requests"] for row in rows if row["device_type"] is None] == [50]
