"""How the hottest table grows: `python -m bench.bloat 3600` loads one campaign for so many seconds, four times.

budget_tracking has Postgres' own settings, then those of the migrations; nobody reads, then a query of finance's stays
open all the time, so that no version of a row can be removed.
"""

import asyncio
import sys

from bench import loads
from bench.books import connected, reconcile
from bench.loads import Crowd
from bench.scale import FULL, PLAYERS
from bench.stage import Stage, set_up

SECONDS = 15

UNTUNE = (
    "ALTER TABLE budget_tracking RESET (fillfactor, autovacuum_vacuum_threshold, autovacuum_vacuum_scale_factor, "
    "autovacuum_vacuum_cost_delay)",
    "VACUUM FULL budget_tracking",
)

SEEN = """
SELECT n_tup_upd AS updates, round(n_tup_hot_upd * 100.0 / nullif(n_tup_upd, 0), 2) AS hot_percentage,
       n_dead_tup AS dead, pg_table_size(relid) / 1024 AS table_kib, pg_indexes_size(relid) / 1024 AS indexes_kib
FROM pg_stat_user_tables WHERE relname = 'budget_tracking'
"""
"""Updates, and how many of them stayed on their page and touched no index."""


async def bloat(seconds: int) -> None:
    """Prints a Markdown table."""
    print("| budget_tracking | finance | ads/s | p99 ms | updates | HOT % | dead | table KiB | indexes KiB |")
    print("|---|---|---|---|---|---|---|---|---|")
    async with set_up(FULL) as stage:
        for reading in ("reads_nothing", "reads_all_the_time"):
            for tuning in ("untuned", "tuned"):
                await _measure(stage, tuning, reading, seconds)


async def _measure(stage: Stage, tuning: str, reading: str, seconds: int) -> None:
    name = f"{tuning}_{reading}"
    async with connected(await stage.database(name)) as connection:
        for statement in UNTUNE if tuning == "untuned" else ():
            await connection.execute(statement)
    server = await stage.instance(name)
    if reading == "reads_all_the_time":
        await stage.hold_snapshot(name)
    seen = await loads.players(server.workers.url, PLAYERS, seconds, Crowd(campaigns=1))
    async with connected(server.database_url) as connection:
        row = await connection.fetchrow(SEEN)
    await reconcile(server.database_url)
    figures = " | ".join(f"{value:,}" for value in (row or {}).values())
    print(
        f"| {tuning} | {reading.replace('_', ' ')} | {seen.requests_per_s:,.0f} | {seen.p99_ms:.1f} | {figures} |",
        flush=True,
    )


if __name__ == "__main__":
    asyncio.run(bloat(int(sys.argv[1]) if len(sys.argv) > 1 else SECONDS))
