import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg
import pytest

from app.beacons import lane as lane_module
from app.beacons.lane import BeaconLane
from app.beacons.settlement import Settlement, settle
from app.domain import Event
from app.observer import Observer
from app.store.connections import Store
from app.store.holds import Beacon
from app.store.spending import Payment
from tests.integration.serves import add_campaigns, open_store, serve_ads
from tests.standby import set_standby

LONGER_S = 5
"""Much longer than an acknowledgment takes, and shorter than a lock that is held until the test lets go of it."""

FAR_LONGER_S = 60
"""Longer than any test takes."""


class Observed(Observer):
    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.charged = self.released = 0

    def beacons_handled(self, outcome: str, count: int) -> None:
        self.outcomes[outcome] += count

    def holds_settled(self, charged: int, released: int) -> None:
        self.charged += charged
        self.released += released


@pytest.fixture
async def store(app_database: str) -> AsyncIterator[Store]:
    store = open_store(app_database)
    yield store
    await store.close()


async def count(lane: BeaconLane, beacon: Beacon) -> None:
    """Sends a beacon, and returns when its sender is answered."""
    counted = asyncio.Event()
    lane.put(beacon, counted.set)
    await counted.wait()


@asynccontextmanager
async def running(store: Store, observed: Observed, **limits: int) -> AsyncIterator[BeaconLane]:
    lane = BeaconLane(store, observed, **{"connections": 2, "queue_max": 10_000, "group_max": 64} | limits)
    lane.start()
    try:
        yield lane
    finally:
        await lane.stop()


def beacon(payment: Payment, event: Event = Event.IMPRESSION) -> Beacon:
    return Beacon(payment.request_key, payment.slot, datetime.now(UTC).date(), payment.campaign_id, event.value)


async def spent(database: str) -> tuple[int, int, int]:
    """Ads charged, held, and beacons recorded."""
    connection = await asyncpg.connect(database)
    try:
        row = await connection.fetchrow(
            "SELECT (SELECT sum(spent) FROM budget_tracking) / 2.5, (SELECT sum(held) FROM budget_tracking) / 2.5,"
            " (SELECT count(*) FROM ad_events)"
        )
    finally:
        await connection.close()
    return int(row[0]), int(row[1]), int(row[2])


async def test_every_beacon_counts_once_however_often_it_is_sent(database: str, store: Store) -> None:
    await add_campaigns(store, ["a", "b"])
    payments = await serve_ads(store, "a", 300) + await serve_ads(store, "b", 300)
    observed = Observed()
    sent = [beacon(payment) for payment in payments for _ in range(random.randint(1, 5))]
    random.shuffle(sent)
    async with running(store, observed) as lane:
        await asyncio.gather(*(count(lane, item) for item in sent))
        assert await spent(database) == (600, 0, 600)
    assert observed.outcomes == {"counted": 600, "repeat": len(sent) - 600}
    assert observed.charged == 600


async def test_a_sender_hears_of_its_beacon_only_after_commit(database: str, store: Store) -> None:
    await add_campaigns(store, ["a"])
    payments = await serve_ads(store, "a", 50)
    async with running(store, Observed(), connections=1) as lane:
        for number, payment in enumerate(payments, start=1):
            await count(lane, beacon(payment))
            assert (await spent(database))[0] == number


async def test_an_error_releases_the_hold(database: str, store: Store) -> None:
    await add_campaigns(store, ["a"])
    (payment,) = await serve_ads(store, "a", 1)
    observed = Observed()
    async with running(store, observed) as lane:
        await count(lane, beacon(payment, Event.ERROR))
    assert await spent(database) == (0, 0, 1)
    assert (observed.charged, observed.released) == (0, 1)


async def test_when_the_queue_is_full_a_beacon_is_dropped_at_once_and_its_sender_does_not_wait(store: Store) -> None:
    await add_campaigns(store, ["a"])
    payments = await serve_ads(store, "a", 5)
    observed = Observed()
    lane = BeaconLane(store, observed, connections=1, queue_max=3, group_max=2)
    waiting = [asyncio.create_task(count(lane, beacon(payment))) for payment in payments[:3]]
    await asyncio.sleep(0)
    await count(lane, beacon(payments[3]))
    assert (lane.waiting, observed.outcomes["dropped"]) == (3, 1)
    lane.start()
    await asyncio.gather(*waiting)
    await count(lane, beacon(payments[4]))
    await lane.stop()
    assert observed.outcomes == {"counted": 4, "repeat": 0, "dropped": 1}


async def test_beacons_that_wait_for_a_lock_are_answered_in_time_and_counted_later(
    database: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_campaigns(store, ["locked", "free"])
    payments = await serve_ads(store, "locked", 3)
    (free,) = await serve_ads(store, "free", 1)
    async with running(store, Observed(), group_max=3) as lane:
        locker = await asyncpg.connect(database)
        transaction = locker.transaction()
        await transaction.start()
        await locker.execute("SELECT FROM budget_tracking WHERE campaign_id = 'locked' FOR UPDATE")
        async with asyncio.timeout(LONGER_S):
            await asyncio.gather(*(count(lane, beacon(payment)) for payment in payments))
        assert (await spent(database))[0] == 0
        # From now on, a beacon is answered when it is counted and not before.
        monkeypatch.setattr(lane_module, "ACK_TIMEOUT_S", FAR_LONGER_S)
        async with asyncio.timeout(LONGER_S):
            await count(lane, beacon(free))
        assert (await spent(database))[0] == 1
        await transaction.rollback()
        await locker.close()
    assert await spent(database) == (4, 0, 4)


async def test_no_beacon_is_lost_when_postgres_ends_the_lanes_connections(database: str, store: Store) -> None:
    await add_campaigns(store, ["a"])
    payments = await serve_ads(store, "a", 2000)
    observed = Observed()
    async with running(store, observed, group_max=16) as lane:
        sending = asyncio.gather(*(count(lane, beacon(payment)) for payment in payments))
        killer = await asyncpg.connect(database)
        for _ in range(3):
            await count(lane, beacon(payments[-1], Event.START))
            await killer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'adserver-serving'"
            )
        await killer.close()
        await sending
    assert await spent(database) == (2000, 0, 2001)
    assert observed.outcomes["dropped"] == 0


async def test_no_beacon_is_lost_while_the_lanes_connections_lead_to_a_standby(database: str, store: Store) -> None:
    await add_campaigns(store, ["a"])
    (payment,) = await serve_ads(store, "a", 1)
    observed = Observed()
    await set_standby(database, standby=True)
    async with running(store, observed) as lane:
        await count(lane, beacon(payment))
        await set_standby(database, standby=False)
    assert await spent(database) == (1, 0, 1)
    assert observed.outcomes["dropped"] == 0


async def test_one_poisoned_beacon_fails_alone(database: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await add_campaigns(store, ["a"])
    payments = await serve_ads(store, "a", 33)
    poisoned = payments[20].request_key

    async def settle_or_fail(connection: "asyncpg.Connection[asyncpg.Record]", beacons: Sequence[Beacon]) -> Settlement:
        if any(item.request_key == poisoned for item in beacons):
            await connection.execute("SELECT 1 / 0")
        return await settle(connection, beacons)

    monkeypatch.setattr(lane_module, "settle", settle_or_fail)
    observed = Observed()
    async with running(store, observed) as lane:
        await asyncio.gather(*(count(lane, beacon(payment)) for payment in payments))
    assert await spent(database) == (32, 1, 32)
    assert observed.outcomes == {"counted": 32, "repeat": 0, "dropped": 1}


async def test_a_lane_that_stops_counts_what_waits(database: str, store: Store) -> None:
    await add_campaigns(store, ["a"])
    payments = await serve_ads(store, "a", 500)
    lane = BeaconLane(store, Observed(), connections=1, queue_max=1000, group_max=10)
    sending = [asyncio.create_task(count(lane, beacon(payment))) for payment in payments]
    await asyncio.sleep(0)
    lane.start()
    await lane.stop()
    await asyncio.gather(*sending)
    assert await spent(database) == (500, 0, 500)
