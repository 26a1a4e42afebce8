"""A hold ends exactly once, despite concurrent beacons, sweepers and crashes."""

import asyncio
import random
from collections.abc import Sequence
from decimal import Decimal
from uuid import uuid4

import asyncpg
import pytest

from app.beacons.settlement import settle, sweep
from app.domain import Event
from app.embedded import EmbeddedPostgres
from app.errors import StoreUnavailable
from app.launch.databases import set_role_passwords
from app.launch.migrate import migrate
from app.store.budget_periods import open_periods
from app.store.connections import Store
from app.store.holds import Beacon
from app.store.roles import APP
from tests.integration.accounting.world import (
    PRICE,
    balance,
    beacon,
    campaign,
    connected,
    disagreements,
    open_store,
    payment,
    serve,
    serve_many,
    set_clock,
    set_up,
)
from tests.invariants.world import somebody_waits
from tests.postgres import temporary_postgres

WORKERS = 4
GROUP = 64
KILL_WORKERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'adserver-serving' AND datname = current_database() AND state <> 'idle'
"""


class Settling:
    """Four workers that settle groups of beacons until none is left, as often as it takes."""

    def __init__(self, store: Store, database: str, beacons: Sequence[Beacon]) -> None:
        self._store = store
        self._database = database
        self._groups = [beacons[start : start + GROUP] for start in range(0, len(beacons), GROUP)]
        self.crashes = 0

    async def run(self, *, crash_every: int) -> None:
        await asyncio.gather(*(self._work(crash_every) for _ in range(WORKERS)))

    async def _work(self, crash_every: int) -> None:
        while self._groups:
            group = self._groups.pop()
            try:
                async with self._store.serving_connection() as connection:
                    settling = asyncio.ensure_future(settle(connection, group))
                    if len(self._groups) % crash_every == 0:
                        await self._crash()
                    await settling
            except (StoreUnavailable, asyncpg.PostgresError, asyncpg.InterfaceError):
                # Whether the group was committed cannot be known: it is sent again.
                self._groups.append(group)

    async def _crash(self) -> None:
        async with connected(self._database) as connection:
            self.crashes += len(await connection.fetch(KILL_WORKERS))


async def prove(store: Store, database: str, count: int, crash_every: int) -> None:
    """Half are seen, a tenth fail, the rest expire; beacons come one to five times, in any order."""
    await set_up(store, campaign("held", budgets={"lifetime": str(count * PRICE), "day": str(count * PRICE)}))
    served = await serve_many(store, "held", count)
    assert await balance(database, "held") == (Decimal(0), count * PRICE, count)
    random.shuffle(served)
    seen, failed = served[: count // 2], served[count // 2 : count // 2 + count // 10]
    beacons = [beacon(item) for item in seen for _ in range(random.randint(1, 5))]
    beacons += [beacon(item, Event.ERROR) for item in failed for _ in range(random.randint(1, 5))]
    random.shuffle(beacons)
    settling = Settling(store, database, beacons)
    await settling.run(crash_every=crash_every)
    assert settling.crashes > 0
    await set_clock(database, "transaction_timestamp() + interval '2 hours'")
    released = sum(await asyncio.gather(*(sweep(store) for _ in range(WORKERS))))
    assert released == count - len(seen) - len(failed)
    for period in ("lifetime", "day"):
        assert await balance(database, "held", period) == (len(seen) * PRICE, Decimal(0), len(seen))
    async with connected(database) as connection:
        events = dict(await connection.fetch("SELECT event, count(*) FROM ad_events GROUP BY event"))
    assert events == {"impression": len(seen), "error": len(failed)}
    assert await disagreements(database) == []


async def test_books_are_exact_after_20000_holds_repeated_beacons_and_crashes(store: Store, database: str) -> None:
    await prove(store, database, 20_000, crash_every=40)


@pytest.mark.slow
async def test_books_are_exact_after_100000_holds_repeated_beacons_and_crashes(store: Store, database: str) -> None:
    await prove(store, database, 100_000, crash_every=100)


async def test_no_sweeper_releases_what_a_beacon_settles_at_the_same_moment(store: Store, database: str) -> None:
    await set_up(store, campaign("held"))
    served = await serve_many(store, "held", 3000)
    await set_clock(database, "transaction_timestamp() + interval '2 hours'")
    random.shuffle(served)

    async def settle_half(part: Sequence[Beacon]) -> int:
        settled = 0
        async with store.serving_connection() as connection:
            for start in range(0, len(part), 16):
                settled += (await settle(connection, part[start : start + 16])).settled
        return settled

    beacons = [beacon(item) for item in served]
    *settled, swept, swept_too = await asyncio.gather(
        settle_half(beacons[:1500]), settle_half(beacons[1500:]), sweep(store, 16), sweep(store, 16)
    )
    assert sum(settled) > 0
    assert swept + swept_too > 0
    assert sum(settled) + swept + swept_too == 3000
    assert await balance(database, "held") == (sum(settled) * PRICE, Decimal(0), sum(settled))
    assert await disagreements(database) == []


async def test_nobodys_holds_wait_for_a_campaign_whose_counters_are_wrong(store: Store, database: str) -> None:
    await set_up(store, campaign("damaged"), campaign("sound"))
    await serve_many(store, "damaged", 3)
    await serve_many(store, "sound", 2)
    async with connected(database) as owner:
        await owner.execute("UPDATE budget_tracking SET held = 1 WHERE campaign_id = 'damaged'")
    await set_clock(database, "transaction_timestamp() + interval '2 hours'")
    assert await sweep(store) == 2
    assert await balance(database, "sound") == (Decimal(0), Decimal(0), 0)
    async with connected(database) as owner:
        assert await owner.fetch("SELECT campaign_id, count(*) FROM holds GROUP BY 1") == [("damaged", 3)]
        await owner.execute("UPDATE budget_tracking SET held = $1 WHERE campaign_id = 'damaged'", 3 * PRICE)
    assert await sweep(store) == 3
    assert await disagreements(database) == []


async def test_of_an_impression_and_an_error_the_first_decides(store: Store, database: str) -> None:
    await set_up(store, campaign("held"))
    seen, failed = await serve_many(store, "held", 2)
    async with store.serving_connection() as connection:
        together = await settle(
            connection, [beacon(seen), beacon(failed, Event.ERROR), beacon(seen, Event.ERROR), beacon(failed)]
        )
        again = await settle(connection, [beacon(seen), beacon(failed)])
    assert (together.counted, together.settled, together.released) == (4, 1, 1)
    assert (again.counted, again.settled, again.released) == (0, 0, 0)
    async with connected(database) as owner:
        assert await owner.fetchval("SELECT request_key FROM spend_ledger") == seen.request_key
        assert await owner.fetchval("SELECT request_key FROM hold_releases") == failed.request_key
    assert await balance(database, "held") == (PRICE, Decimal(0), 1)


async def test_a_late_impression_is_recorded_and_not_charged(store: Store, database: str) -> None:
    await set_up(store, campaign("strict", late_impressions="ignore"))
    (served,) = await serve_many(store, "strict", 1)
    await set_clock(database, "transaction_timestamp() + interval '2 hours'")
    assert await sweep(store) == 1
    async with store.serving_connection() as connection:
        late = await settle(connection, [beacon(served)])
    assert (late.counted, late.settled) == (1, 0)
    assert await balance(database, "strict") == (Decimal(0), Decimal(0), 0)
    assert await disagreements(database) == []


async def test_late_impressions_are_charged_while_the_budget_has_room(store: Store, database: str) -> None:
    await set_up(store, campaign("lenient", late_impressions="charge", budgets={"lifetime": "10"}))
    first = await serve_many(store, "lenient", 4)
    await set_clock(database, "transaction_timestamp() + interval '2 hours'")
    assert await sweep(store) == 4
    await serve_many(store, "lenient", 2)
    async with store.serving_connection() as connection:
        late = await settle(connection, [beacon(item) for item in (*first, *first)])
        again = await settle(connection, [beacon(item) for item in first])
    assert (late.settled, again.settled) == (2, 0)
    assert await balance(database, "lenient") == (2 * PRICE, 2 * PRICE, 4)
    assert await disagreements(database) == []


async def test_a_late_impression_is_charged_although_the_hour_ends_while_it_is(store: Store, database: str) -> None:
    await set_up(store, campaign("lenient", late_impressions="charge", budgets={"hour": "10"}))
    (served,) = await serve_many(store, "lenient", 1)
    await set_clock(database, "transaction_timestamp() + interval '2 hours'")
    assert await sweep(store) == 1
    async with store.serving_connection() as connection, connected(database) as holder:
        async with holder.transaction():
            await open_periods(holder, ["lenient"])
            settling = asyncio.create_task(settle(connection, [beacon(served)]))
            await somebody_waits(database)
            now = await holder.fetchval("SELECT clock_timestamp()")
            hours = f"CASE WHEN transaction_timestamp() < '{now}' THEN 2 ELSE 3 END"
            await set_clock(database, f"transaction_timestamp() + make_interval(hours => {hours})")
        assert (await settling).settled == 1
    assert await disagreements(database) == []


async def test_an_impression_after_its_error_is_never_charged(store: Store, database: str) -> None:
    await set_up(store, campaign("lenient", late_impressions="charge"))
    (served,) = await serve_many(store, "lenient", 1)
    async with store.serving_connection() as connection:
        await settle(connection, [beacon(served, Event.ERROR)])
        assert (await settle(connection, [beacon(served)])).settled == 0
    assert await balance(database, "lenient") == (Decimal(0), Decimal(0), 0)
    assert await disagreements(database) == []


async def test_what_is_held_is_not_there_to_be_spent_and_what_is_released_is(store: Store, database: str) -> None:
    await set_up(store, campaign("tight", budgets={"lifetime": "5"}))
    held = await serve_many(store, "tight", 2)
    async with store.serving_connection() as connection:
        assert not await serve(connection, [payment("tight", uuid4())])
        await settle(connection, [beacon(held[0], Event.ERROR)])
        assert await serve(connection, [payment("tight", uuid4())])
        assert not await serve(connection, [payment("tight", uuid4())])


@pytest.mark.slow
async def test_postgres_may_crash_while_holds_are_settled() -> None:
    with temporary_postgres() as server:
        await asyncio.to_thread(migrate, server.dsn)
        await set_role_passwords(server)
        store = open_store(server.url(role=APP))
        try:
            await crash_and_settle(server, store)
        finally:
            await store.close()


async def crash_and_settle(server: EmbeddedPostgres, store: Store) -> None:
    await set_up(store, campaign("held"))
    served = await serve_many(store, "held", 5000)
    groups = [served[start : start + GROUP] for start in range(0, len(served), GROUP)]
    crash_at = {len(groups) // 3, 2 * len(groups) // 3}
    while groups:
        group = groups.pop()
        try:
            async with store.serving_connection() as connection:
                settling = asyncio.ensure_future(settle(connection, [beacon(item) for item in group]))
                if len(groups) in crash_at:
                    crash_at.remove(len(groups))
                    server.kill()
                await settling
        except (StoreUnavailable, asyncpg.PostgresError, asyncpg.InterfaceError):
            groups.append(group)
            await asyncio.to_thread(server.wait_until_ready)
    assert await balance(server.dsn, "held") == (5000 * PRICE, Decimal(0), 5000)
    assert await disagreements(server.dsn) == []
