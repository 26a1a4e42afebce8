"""How fast finance is answered: `python -m bench.finance 50000000`, so many entries of the ledger over three months.

Prints how long each question takes, and the plan of the first one. Rollups are made by `adserver maintain`.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from asyncpg import Connection, Record

from app.accounting.dates import next_month
from app.accounting.month_archive import archive_month
from app.accounting.month_close import close_month, find_month_fault
from app.accounting.reconcile import reconcile
from app.store.connections import snapshot
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
INSERT INTO spend_ledger (booked_at, booked_on, kind, advertiser_id, advertiser_name, campaign_id, request_key, slot,
                          amount, publisher_amount, house_amount, currency, hour_start, day_start)
SELECT at, (at AT TIME ZONE 'UTC')::date, 'charge', c.advertiser_id, 'Acme', c.id, gen_random_uuid(), 0, 0.0025, 0,
       0.0025, 'USD', date_trunc('hour', at, 'UTC'), date_trunc('day', at, 'UTC')
FROM (SELECT no, now() - interval '{days} days' * (1 - no::float8 / {entries}) - interval '5 minutes' AS at
      FROM generate_series(0, {entries} - 1) AS no) AS entry
JOIN campaigns c ON c.id = 'c' || 1 + no % {campaigns}
"""
"""Entries in the order of time, as they are booked."""

DROP_SERVES = """
INSERT INTO retention (parent, dropped_before) VALUES ('ad_serves', (now() + interval '1 day')::date)
"""
"""The entries have no serves, as if retention had dropped them."""

DROP_BUDGETS = "DELETE FROM budget_tracking; DELETE FROM configured_budgets"
"""The entries count in no budget."""

QUESTIONS = {
    "a month by advertiser": """
SELECT * FROM finance.advertiser_spend_monthly
WHERE month = date_trunc('month', now() - interval '1 month')::date
""",
    "every campaign's spend": "SELECT * FROM finance.campaign_spend",
    "a month by campaign and day": """
SELECT * FROM finance.campaign_spend_daily WHERE day > (now() - interval '30 days')::date
""",
    "a month of publishers": """
SELECT * FROM finance.publisher_earnings_monthly
WHERE month = date_trunc('month', now() - interval '1 month')::date
""",
    "a thousand lines of a campaign in a closed month": """
SELECT * FROM finance.invoice_lines
WHERE campaign_id = 'c1' AND day >= date_trunc('month', now() - interval '1 month')::date
    AND day < date_trunc('month', now())::date ORDER BY entry_id LIMIT 1000
""",
    "a campaign's lines of a day in the open month": """
SELECT * FROM finance.invoice_lines
WHERE campaign_id = 'c1' AND day = (now() AT TIME ZONE 'UTC')::date
""",
    "what each campaign has left": "SELECT * FROM finance.campaigns",
    "what a closed month came to": """
SELECT * FROM finance.month_end(date_trunc('month', now() - interval '1 month')::date)
""",
    "what the open month came to so far": "SELECT * FROM finance.month_end(date_trunc('month', now())::date)",
    "all balances of a moment": "SELECT * FROM finance.balance_as_of(now() - interval '40 days 5 hours')",
}


ADD_BUDGET = (
    "DELETE FROM budget_tracking WHERE campaign_id = 'c1' AND period = 'lifetime'",
    "INSERT INTO configured_budgets (campaign_id, period, \"limit\") VALUES ('c1', 'lifetime', 1000000) "
    "ON CONFLICT DO NOTHING",
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
            await connection.execute(DROP_SERVES)
            await connection.execute(DROP_BUDGETS)
            await connection.execute("VACUUM (ANALYZE) spend_ledger")
        rolled_s = await _timed(lambda: stage.adserver(url, "maintain"))
        print(f"{entries:,} entries over {DAYS} days, booked in {filled_s:.0f} s, rolled up in {rolled_s:.0f} s\n")
        print("| question | median ms |\n|---|---|")
        async with connected(url) as connection:
            await _measure_closing(connection)
            for question, sql in QUESTIONS.items():
                times = [await _timed(lambda sql=sql: connection.fetch(sql)) for _ in range(TURNS)]
                print(f"| {question} | {statistics.median(times) * 1000:,.1f} |")
            print(f"| a lifetime budget that is added | {await _recount_s(connection) * 1000:,.1f} |")
            wrong = await _measure_checks(connection)
            plan = await connection.fetch(f"EXPLAIN (ANALYZE, COSTS OFF, BUFFERS OFF) {next(iter(QUESTIONS.values()))}")
        print("\n".join(row[0] for row in plan))
        if wrong:
            raise RuntimeError(f"the books are wrong in {wrong} places")


async def _measure_closing(connection: "Connection[Record]") -> None:
    """Print how long it takes to close each month that is over."""
    today = datetime.now(UTC).date()
    month = (today - timedelta(days=DAYS)).replace(day=1)
    while next_month(month) <= today:
        print(f"| close {month:%Y-%m} | {await _timed(partial(close_month, connection, month)) * 1000:,.0f} |")
        month = next_month(month)


async def _measure_checks(connection: "Connection[Record]") -> int:
    """Print how long it takes to reconcile, verify and archive; return the number of disagreements."""
    wrong = 0
    for name, since in (("everything", None), ("the last two days", datetime.now(UTC).date() - timedelta(days=2))):
        began = time.monotonic()
        wrong += await reconcile(connection, lambda *_: None, since=since)
        print(f"| reconcile {name} | {(time.monotonic() - began) * 1000:,.0f} |")
    today = datetime.now(UTC).date()
    last = (today.replace(day=1) - timedelta(days=1)).replace(day=1)
    async with snapshot(connection):
        print(f"| verify {last:%Y-%m} | {await _timed(partial(find_month_fault, connection, last)) * 1000:,.0f} |")
    with TemporaryDirectory() as folder:
        archive = partial(archive_month, connection, last, Path(folder), drop=True)
        print(f"| archive {last:%Y-%m} | {await _timed(archive) * 1000:,.0f} |")
    began = time.monotonic()
    wrong += await reconcile(connection, lambda *_: None)
    print(f"| reconcile everything after that | {(time.monotonic() - began) * 1000:,.0f} |\n")
    return wrong


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
