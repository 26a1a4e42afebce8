"""How fast finance is answered: `python -m bench.finance 50000000`, so many entries of the ledger over three months.

Prints how long each question takes, and the plan of the first one. Rollups are made by `adserver maintain`.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

from asyncpg import Connection, Record

from app.store.connections import disable_timeouts
from app.store.ledger_checks import find_disagreements
from bench.books import connected
from bench.scale import CAMPAIGNS, FULL
from bench.stage import set_up

ENTRIES = 5_000_000
DAYS = 90
TURNS = 5

MAKE_MONTHS = """
SELECT make_ledger_partition(month::date) FROM generate_series(
    date_trunc('month', now() - interval '{days} days'), now(), interval '1 month') AS month
"""
"""Partitions for all of the entries."""

FILL = """
INSERT INTO spend_ledger (booked_at, kind, campaign_id, request_key, slot, amount, currency, hour_start, day_start)
SELECT at, 'charge', 'c' || 1 + no % {campaigns}, gen_random_uuid(), 0, 0.0025, 'USD', date_trunc('hour', at, 'UTC'),
       date_trunc('day', at, 'UTC')
FROM (SELECT no, now() - interval '{days} days' * (1 - no::float8 / {entries}) - interval '5 minutes' AS at
      FROM generate_series(0, {entries} - 1) AS no) AS entry
"""
"""Entries in the order of time, as they are booked."""

QUESTIONS = {
    "a month by advertiser": """
SELECT * FROM finance.advertiser_spend_monthly
WHERE month = date_trunc('month', now() - interval '1 month')::date
""",
    "every campaign's spend": "SELECT * FROM finance.campaign_spend",
    "a month by campaign and day": """
SELECT * FROM finance.campaign_spend_daily WHERE day > (now() - interval '30 days')::date
""",
    "all balances of a moment": "SELECT * FROM finance.balance_as_of(now() - interval '40 days 5 hours')",
}


ADD_BUDGET = (
    "DELETE FROM budget_tracking WHERE campaign_id = 'c1' AND period = 'lifetime'",
    "INSERT INTO campaign_budgets VALUES ('c1', 'lifetime', 1000000) ON CONFLICT DO NOTHING",
)
RECOUNT = "SELECT recount_budgets('{c1}')"
"""What happens when a campaign that has spent gets a budget for its lifetime; nobody is charged meanwhile."""


async def measure(entries: int) -> None:
    """Prints a Markdown table and a plan."""
    async with set_up(FULL) as stage:
        url = await stage.database("finance")
        values = {"entries": entries, "campaigns": CAMPAIGNS, "days": DAYS}
        async with connected(url) as connection:
            await connection.execute(MAKE_MONTHS.format(**values))
            filled_s = await _timed(lambda: connection.execute(FILL.format(**values)))
            await connection.execute("VACUUM (ANALYZE) spend_ledger")
        rolled_s = await _timed(lambda: stage.adserver(url, "maintain"))
        print(f"{entries:,} entries over {DAYS} days, booked in {filled_s:.0f} s, rolled up in {rolled_s:.0f} s\n")
        print("| question | median ms |\n|---|---|")
        async with connected(url) as connection:
            for question, sql in QUESTIONS.items():
                times = [await _timed(lambda sql=sql: connection.fetch(sql)) for _ in range(TURNS)]
                print(f"| {question} | {statistics.median(times) * 1000:,.1f} |")
            print(f"| a lifetime budget that is added | {await _recount_s(connection) * 1000:,.1f} |")
            async with connection.transaction():
                await disable_timeouts(connection)
                began = time.monotonic()
                wrong = await find_disagreements(connection, "rollup", 1)
                print(f"| all rollups against the ledger | {(time.monotonic() - began) * 1000:,.0f} |\n")
            plan = await connection.fetch(f"EXPLAIN (ANALYZE, COSTS OFF, BUFFERS OFF) {next(iter(QUESTIONS.values()))}")
        print("\n".join(row[0] for row in plan))
        if wrong:
            raise RuntimeError(f"the rollups are wrong: {wrong[0]}")


async def _recount_s(connection: "Connection[Record]") -> float:
    """Seconds that charging stands still for; the budget is taken away again."""
    times = []
    for _ in range(TURNS):
        transaction = connection.transaction()
        await transaction.start()
        for statement in ADD_BUDGET:
            await connection.execute(statement)
        times.append(await _timed(lambda: connection.execute(RECOUNT)))
        await transaction.rollback()
    return statistics.median(times)


async def _timed(run: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await run()
    return time.perf_counter() - began


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else ENTRIES))
