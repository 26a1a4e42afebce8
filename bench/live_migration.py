"""Migrate a database under full load: `python -m bench.live_migration 10000000` with ten million ads in the books.

While players request ads and a finance query stays open, the newest revision is downgraded and upgraded repeatedly.
The run fails if a request failed, if the players' 99th percentile more than doubled, if there was a deadlock, or if the
books do not agree.
"""

import asyncio
import sys
import time

from alembic import command

from app.launch.migrate import migrate, retry_on_lock_timeout
from app.store.revision import alembic_config
from bench import loads
from bench.books import connected, reconcile
from bench.loads import Crowd, Loaded
from bench.scale import FULL, PLAYERS
from bench.stage import Instance, Stage, set_up

ROWS = 1_000_000
LOAD_S = 20
CALM_S = 2.0
"""Time without a migration at the beginning and at the end of the load."""

BETWEEN_S = 1.0
"""Pause after each downgrade and upgrade."""

SLOWER_MAX = 2.0

HISTORY = """
[[campaigns]]
id = "history"
advertiser = "Acme"
status = "paused"
currency = "USD"
starts_at = 2026-01-01T00:00:00Z
ends_at = 2036-01-01T00:00:00Z
cpm = "2.500"
"""

FILL = (
    """
CREATE TEMPORARY TABLE history AS
SELECT gen_random_uuid() AS request_key, now() - interval '10 minutes' - random() * interval '1 hour' AS at
FROM generate_series(1, $1::int)
""",
    """
INSERT INTO ad_serves (request_key, slot, served_on, served_at, campaign_id, price, currency, billing, fingerprint)
SELECT request_key, 0, (at AT TIME ZONE 'UTC')::date, at, 'history', 0.0025, 'USD', 'serve', 0 FROM history
""",
    """
INSERT INTO spend_ledger (booked_at, booked_on, kind, advertiser_id, advertiser_name, campaign_id, request_key, slot,
                          amount, publisher_amount, house_amount, currency, hour_start, day_start)
SELECT at, (at AT TIME ZONE 'UTC')::date, 'charge', 'Acme', 'Acme', 'history', request_key, 0, 0.0025, 0, 0.0025, 'USD',
       window_start('hour', at, 'UTC'), window_start('day', at, 'UTC')
FROM history
""",
    "ANALYZE",
)
"""Inserts ads that were served and charged in the last hour."""

DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
"""Returns the number of deadlocks since the database was created."""


async def prove(rows: int) -> bool:
    """Print the measurements; return whether they meet the limits."""
    async with set_up(FULL) as stage:
        server = await stage.instance("live")
        await _fill(stage, server.database_url, rows)
        await stage.hold_snapshot("live")
        await _load(server)
        before = await _load(server)
        migrating = asyncio.create_task(asyncio.to_thread(_migrate_for, server.database_url, LOAD_S - 2 * CALM_S))
        during = await _load(server)
        cycles = await migrating
        async with connected(server.database_url) as connection:
            deadlocks = await connection.fetchval(DEADLOCKS)
        began = time.monotonic()
        await reconcile(server.database_url)
        took_s = time.monotonic() - began
    print(f"{rows:,} rows each in ad_serves and spend_ledger; {PLAYERS} players for {LOAD_S} s; a finance query open")
    for what, seen in (("before", before), (f"{cycles} times down and up", during)):
        print(f"{what}: {seen.requests_per_s:,.0f} ads/s, p99 {seen.p99_ms:.1f} ms, {seen.failures} failed")
    print(f"{deadlocks} deadlocks; reconciled in {took_s:.0f} s: the books agree")
    failed = before.failures + during.failures + deadlocks
    return cycles > 0 and not failed and during.p99_ms <= SLOWER_MAX * before.p99_ms


async def _fill(stage: Stage, url: str, rows: int) -> None:
    file = stage.folder / "history.toml"
    file.write_text(HISTORY)
    await stage.adserver(url, "apply", str(file))
    async with connected(url) as connection:
        create, *others = FILL
        await connection.execute("SET work_mem = '256MB'")
        # A utility statement takes no parameters.
        await connection.execute(create.replace("$1::int", str(rows)))
        for statement in others:
            await connection.execute(statement)
        await connection.execute("CHECKPOINT")
    await stage.adserver(url, "maintain")


async def _load(server: Instance) -> Loaded:
    return await loads.players(server.workers.url, PLAYERS, LOAD_S, Crowd())


def _migrate_for(url: str, seconds: float) -> int:
    """Downgrade by one revision and upgrade again until the time is over; return the number of cycles."""
    config = alembic_config()
    config.attributes["database_url"] = url
    time.sleep(CALM_S)
    deadline, cycles = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        retry_on_lock_timeout(lambda: command.downgrade(config, "-1"))
        migrate(url)
        cycles += 1
        time.sleep(BETWEEN_S)
    return cycles


if __name__ == "__main__":
    sys.exit(not asyncio.run(prove(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)))
