"""Outcomes of requests in finance's views."""

from datetime import UTC, datetime
from decimal import Decimal

import asyncpg

from app.observability.request_counts import RequestCounts
from app.store.connections import Store
from tests.campaigns import own_campaign, set_up
from tests.integration.serves import open_store
from tests.players import Players, connected, serving

OUTCOMES = [*(["served"] * 5), *(["budget"] * 2), "frequency_cap", "repeat", "error"]


def counts_of(store: Store) -> RequestCounts:
    counts = RequestCounts(store)
    counts.requests_finished([(datetime.now(UTC), "", 200, outcome, 0.001) for outcome in OUTCOMES])
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
