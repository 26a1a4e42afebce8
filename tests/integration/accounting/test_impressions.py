"""finance.impressions: every ad with the entry that charged it, found by its serve_id without reading the days."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import aiohttp
import pytest
from asyncpg import Connection, Record

from app.accounting.corrections import Reversal, reverse
from app.domain import Event
from app.store import spending
from app.store.connections import Store
from tests.campaigns import own_campaign, placement, publisher
from tests.campaigns import set_up as set_up_file
from tests.integration.accounting.evidence_world import CHARGED, DAY, LATE, PRICE, SEEN, at, open_books, send, serve
from tests.integration.accounting.world import connected, disagreements, payment
from tests.players import Players, becomes, serving

IMPRESSION_URL = re.compile(rb"/event/impression\?t=[^\]<]+")
SERVING_ID = re.compile(rb"<AdServingId>([^<]+)</AdServingId>")

CHARGES = "SELECT serve_id, slot, entry_id, charged, reversed FROM finance.impressions WHERE campaign_id = $1"
LINE_OF = "SELECT serve_id, slot, amount FROM finance.invoice_lines WHERE entry_id = $1"

# Five days of ads, of which most have been seen and some have lost their holds.
DAYS, ADS = 5, 2000
MANY_SERVES = f"""
INSERT INTO ad_serves (request_key, slot, served_on, served_at, campaign_id, price, currency, billing, fingerprint)
SELECT gen_random_uuid(), 0, day, day + time '12:00', 'c', 2.5, 'USD', 'impression', 0
FROM generate_series(date '{DAY}' - {DAYS - 1}, date '{DAY}', interval '1 day') AS d (day), generate_series(1, {ADS});
INSERT INTO ad_events (request_key, slot, served_on, event, campaign_id, received_at)
SELECT request_key, slot, served_on, event, campaign_id, served_at
FROM ad_serves, unnest(ARRAY['impression', 'start', 'complete']) AS e (event);
INSERT INTO hold_releases (request_key, slot, served_on, booked_on, advertiser_id, advertiser_name, campaign_id, price,
                           publisher_amount, currency, billing, released_at, cause)
SELECT request_key, slot, served_on, served_on, 'a', 'A', campaign_id, price, 0, currency, 'impression', served_at,
       'expiry'
FROM ad_serves;
ANALYZE
"""
SEQUENTIAL_SCANS = """
SELECT relname FROM pg_stat_xact_user_tables
WHERE seq_tup_read > 0 AND relname ~ '^(ad_serves|ad_events|hold_releases|spend_ledger)_'
"""
READ_ROWS = """
SELECT sum(idx_tup_fetch) FROM pg_stat_xact_user_tables WHERE relname ~ '^(ad_serves|ad_events|hold_releases)_'
"""


async def test_an_ad_that_a_player_showed_has_every_column(
    database: str, app_database: str, finance_database: str
) -> None:
    await set_up_file(
        database,
        publisher("tv"),
        own_campaign("spring", cpm="2500", billing="impression"),
        placement("preroll", "spring", publisher_id="tv"),
    )
    before = datetime.now(UTC)
    async with serving(app_database) as server, Players(server.url) as players:
        answer = await players.ask(placement_id="preroll", country="DEU", region="be", device_type="CTV")
        url, serving_id = IMPRESSION_URL.search(answer.body), SERVING_ID.search(answer.body)
        assert url is not None
        assert serving_id is not None
        async with aiohttp.ClientSession(server.url) as player, player.get(url[0].decode()) as response:
            assert response.status == 200
        async with connected(finance_database) as finance:

            async def is_seen() -> bool:
                return await finance.fetchval("SELECT seen_at FROM finance.impressions") is not None

            await becomes(is_seen)
            (row,) = await finance.fetch("SELECT * FROM finance.impressions")
            entry = await finance.fetchrow("SELECT * FROM finance.invoice_lines")
    after = datetime.now(UTC)
    assert entry is not None
    times = [row["served_at"], row["seen_at"]]
    assert before - timedelta(seconds=5) <= times[0] <= times[1] <= after + timedelta(seconds=5)
    assert {name: value for name, value in row.items() if name not in ("served_at", "seen_at")} == {
        "serve_id": entry["serve_id"],
        "slot": 0,
        "served_on": row["served_at"].date(),
        "campaign_id": "spring",
        "creative_id": "spring-15s",
        "upstream_id": None,
        "placement_id": "preroll",
        "publisher_id": "tv",
        "country": "DE",
        "region": "DE-BE",
        "device_type": "ctv",
        "price": PRICE,
        "currency": "USD",
        "billing": "impression",
        "entry_id": entry["entry_id"],
        "charged": entry["amount"],
        "reversed": False,
    }
    assert serving_id[1].decode() == f"{row['serve_id']}-{row['slot']}"


async def test_an_ad_is_charged_by_the_entry_that_its_serve_or_its_impression_booked(
    store: Store, database: str
) -> None:
    await open_books(store)
    await at(store, database, "12:00")
    await serve(store, CHARGED, 2)
    shown, failed, unseen = await serve(store, SEEN, 3)
    late, *lost = await serve(store, LATE, 3)
    await send(store, [shown], Event.IMPRESSION)
    await send(store, [failed], Event.ERROR)
    await at(store, database, "12:20")
    await send(store, [unseen, late], Event.IMPRESSION)
    async with connected(database) as finance:
        charged = {campaign_id: await finance.fetch(CHARGES, campaign_id) for campaign_id in (CHARGED, SEEN, LATE)}
        for row in [row for rows in charged.values() for row in rows if row["entry_id"]]:
            line = await finance.fetchrow(LINE_OF, row["entry_id"])
            assert line is not None
            assert tuple(line) == (row["serve_id"], row["slot"], row["charged"])
        rows = await finance.fetch("SELECT serve_id, seen_at FROM finance.impressions WHERE seen_at IS NOT NULL")
    assert [row["charged"] for row in charged[CHARGED]] == [PRICE, PRICE]
    assert {row["serve_id"] for row in charged[SEEN] if row["charged"]} == {shown.request_key}
    assert {row["serve_id"] for row in charged[LATE] if row["charged"]} == {late.request_key}
    assert {row["charged"] for row in charged[LATE]} == {PRICE, Decimal(0)}
    assert {row["serve_id"]: f"{row['seen_at']:%H:%M}" for row in rows} == {
        shown.request_key: "12:00",
        unseen.request_key: "12:20",
        late.request_key: "12:20",
    }
    assert await disagreements(database) == []
    assert len(lost) == 2


async def test_a_late_impression_is_charged_once_however_often_it_comes(store: Store, database: str) -> None:
    await open_books(store)
    await at(store, database, "12:00")
    (late,) = await serve(store, LATE)
    await at(store, database, "12:20")
    for _ in range(3):
        await send(store, [late], Event.IMPRESSION)
    async with connected(database) as finance:
        assert await finance.fetchval("SELECT count(*) FROM spend_ledger") == 1
        assert await finance.fetchval("SELECT sum(charged) FROM finance.impressions") == PRICE
        assert await finance.fetchval("SELECT sum(released) FROM finance.month_end($1)", DAY) == 0
    assert await disagreements(database) == []


async def test_an_ad_whose_charge_was_taken_back_says_so(store: Store, database: str) -> None:
    await open_books(store)
    await at(store, database, "12:00")
    await serve(store, CHARGED, 2)
    async with connected(database) as connection:
        entry_id = await connection.fetchval("SELECT min(entry_id) FROM spend_ledger")
        await reverse(connection, Reversal(entry_id, "a monitor", "k1"))
        rows = await connection.fetch("SELECT entry_id, charged, reversed FROM finance.impressions ORDER BY entry_id")
    assert [tuple(row)[1:] for row in rows] == [(PRICE, True), (PRICE, False)]
    assert rows[0]["entry_id"] == entry_id


@pytest.fixture
async def finance(store: Store, database: str, finance_database: str) -> AsyncIterator["Connection[Record]"]:
    """Finance's connection to many ads on several days."""
    for days in range(DAYS):
        await at(store, database, "12:00", DAY - timedelta(days=days))
    async with connected(database) as owner:
        await owner.execute(MANY_SERVES)
    async with connected(finance_database) as connection:
        yield connection


async def test_an_ad_is_found_by_index_alone(finance: "Connection[Record]", database: str) -> None:
    async with connected(database) as owner:
        serve_id = await owner.fetchval("SELECT request_key FROM ad_serves WHERE served_on = $1 LIMIT 1", DAY)
    async with finance.transaction():
        (row,) = await finance.fetch("SELECT * FROM finance.impressions WHERE serve_id = $1", serve_id)
        assert await finance.fetch(SEQUENTIAL_SCANS) == []
        assert await finance.fetchval(READ_ROWS) == 3
        assert await finance.fetch("SELECT * FROM finance.impression($1)", serve_id) == [row]
        assert await finance.fetch(SEQUENTIAL_SCANS) == []


async def test_a_day_or_a_week_of_a_campaign_reads_its_days_alone(finance: "Connection[Record]") -> None:
    for condition, days in ((f"= date '{DAY}'", 1), (f"BETWEEN date '{DAY}' - 1 AND date '{DAY}'", 2)):
        query = f"SELECT * FROM finance.impressions WHERE campaign_id = 'c' AND served_on {condition}"
        plan = "\n".join(row[0] for row in await finance.fetch(f"EXPLAIN {query}"))
        for table in ("ad_serves", "ad_events", "hold_releases"):
            assert len(set(re.findall(rf"{table}_\d{{8}}\b", plan))) == days
        assert len(await finance.fetch(query)) == days * ADS


async def test_the_ads_of_a_request_are_found_whatever_its_id_is(store: Store, database: str) -> None:
    await open_books(store)
    await at(store, database, "12:00")
    (own,) = await serve(store, CHARGED)
    pod = uuid4()
    await serve_request(store, pod, 3)
    async with connected(database) as connection:
        assert await found(connection, own.request_key) == [0]
        assert await found(connection, pod) == [0, 1, 2]
        assert await found(connection, uuid4()) == []


async def serve_request(store: Store, request_key: UUID, ads: int) -> None:
    payments = [payment(CHARGED)._replace(request_key=request_key, slot=slot) for slot in range(ads)]
    async with store.serving_connection() as connection, connection.transaction():
        await spending.spend(connection, payments)


async def found(connection: "Connection[Record]", serve_id: UUID) -> list[int]:
    return [row[0] for row in await connection.fetch("SELECT slot FROM finance.impression($1) ORDER BY 1", serve_id)]
