"""How the hottest table grows: `python -m bench.bloat 3600` loads one campaign for so many seconds, on two databases.

In one budget_tracking has Postgres' own settings, in the other those of the migrations. Both are loaded at the same
time, and once more, for ten minutes at the most, while a query of finance's stays open, so that no version of a row
can be removed. The players never pause, and are few, so that groups are small: every group changes two rows.
"""

import asyncio
import sys

from bench import loads
from bench.books import charges, connected, reconcile
from bench.loads import Crowd, Loaded
from bench.scale import FULL
from bench.stage import Instance, Stage, set_up

SECONDS = 15
PLAYERS = 8
READING_S_MAX = 600
"""How long the query stays open: the role adserver_finance is allowed no longer one (migrations/roles.sql)."""

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
    print("| budget_tracking | finance | ads | p99 ms | updates | HOT % | dead | table KiB | indexes KiB |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    async with set_up(FULL) as stage:
        for reading in (False, True):
            lasts_s = min(seconds, READING_S_MAX) if reading else seconds
            servers = [await _server(stage, tuned=tuned, reading=reading) for tuned in (False, True)]
            loaded = await asyncio.gather(*(_load(server, lasts_s) for server in servers))
            for settings, server, seen in zip(("Postgres' own", "the migrations'"), servers, loaded, strict=True):
                print(
                    await _row(settings, "reads all the time" if reading else "reads nothing", server, seen), flush=True
                )


async def _server(stage: Stage, *, tuned: bool, reading: bool) -> Instance:
    """A server on a database of its own."""
    name = f"{'tuned' if tuned else 'untuned'}_{'read' if reading else 'unread'}"
    if not tuned:
        async with connected(await stage.database(name)) as connection:
            for statement in UNTUNE:
                await connection.execute(statement)
    server = await stage.instance(name)
    if reading:
        await stage.hold_snapshot(name)
    return server


async def _load(server: Instance, seconds: int) -> Loaded:
    return await loads.players(server.workers.url, PLAYERS, seconds, Crowd(campaigns=1))


async def _row(settings: str, finance: str, server: Instance, seen: Loaded) -> str:
    """One line of the table; raises RuntimeError if the books do not agree."""
    async with connected(server.database_url) as connection:
        row = await connection.fetchrow(SEEN)
    await reconcile(server.database_url)
    ads = await charges(server.database_url)
    figures = " | ".join(f"{value:,}" for value in (row or {}).values())
    return f"| {settings} | {finance} | {ads:,} | {seen.p99_ms:.1f} | {figures} |"


if __name__ == "__main__":
    asyncio.run(bloat(int(sys.argv[1]) if len(sys.argv) > 1 else SECONDS))
