"""budget_tracking under corrections: lock the periods in which entries count, and add their amounts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from asyncpg import Connection, Record

from app.store.holds import COUNTED_PERIODS
from app.store.sql_fragments import NEWEST_BUDGET_ROW, NEXT_GENERATION

CORRECTED_AMOUNTS = """unnest($1::varchar[], $2::varchar[], $3::timestamptz[], $4::timestamptz[], $5::numeric[])
    AS a (campaign_id, order_id, hour_start, day_start, amount)"""
"""The columns of `CorrectedAmount`, as rows."""

RESTORE_PERIODS = f"""
SELECT restore_budget_periods(array_agg(DISTINCT campaign_id), hour_start, day_start)
FROM {CORRECTED_AMOUNTS}
GROUP BY hour_start, day_start
"""
"""Move the periods in which amounts count back from the archive."""

LOCK_BUDGETS_FOR_CORRECTION = f"""
WITH budget_period AS MATERIALIZED (
    SELECT budget_id, period, period_start, sum(amount) AS amount
    FROM {CORRECTED_AMOUNTS}
    {COUNTED_PERIODS}
    WHERE budget_id IS NOT NULL
    GROUP BY budget_id, period, period_start
    ORDER BY budget_id COLLATE "C", period, period_start
)
SELECT newest.row_ctid, newest.order_id, newest.period, newest.spent, newest.held,
       least(newest."limit", b."limit") AS "limit", budget_period.amount
FROM budget_period
CROSS JOIN LATERAL (
    SELECT t.ctid AS row_ctid, t.* FROM budget_tracking t
    {NEWEST_BUDGET_ROW}
    FOR UPDATE
) AS newest
LEFT JOIN configured_budgets b ON b.budget_id = newest.budget_id AND b.period = newest.period
"""
"""Lock the budget periods in which amounts count, ordered by budget, period and start; return what each must take."""

ADD_TO_COUNTERS = f"""
WITH correction AS MATERIALIZED (
    SELECT * FROM unnest($1::tid[], $2::numeric[]) AS c (row_ctid, amount)
)
UPDATE budget_tracking t SET spent = t.spent + c.amount, generation = {NEXT_GENERATION}
FROM correction c WHERE t.ctid = c.row_ctid
"""
"""Add amounts to the counters that `LOCK_BUDGETS_FOR_CORRECTION` has locked."""


class CorrectedAmount(NamedTuple):
    """An amount that corrections add to the budgets of a campaign and an order in one hour and day."""

    campaign_id: str
    order_id: str | None
    hour_start: datetime
    day_start: datetime
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Counter:
    """A locked budget period; `limit` is the lower one of the period's and its owner's, or None."""

    row_ctid: object
    order_id: str | None
    """The order whose budget it is; None for the campaign's own."""
    period: str
    spent: Decimal
    held: Decimal
    limit: Decimal | None
    amount: Decimal
    """The amount that must be added to `spent`."""


async def lock_counters(connection: "Connection[Record]", amounts: Sequence[CorrectedAmount]) -> list[Counter]:
    """Lock the counters of the amounts, archived or not, until the transaction ends, and return them.

    The closing lock must be held, so that no period is archived meanwhile.
    """
    columns = list(zip(*amounts, strict=True))
    await connection.execute(RESTORE_PERIODS, *columns)
    return [Counter(**row) for row in await connection.fetch(LOCK_BUDGETS_FOR_CORRECTION, *columns)]


async def add_to_counters(connection: "Connection[Record]", counters: Sequence[Counter]) -> None:
    """Add the amounts to the locked counters; raises asyncpg's CheckViolationError if one would break a rule."""
    await connection.execute(
        ADD_TO_COUNTERS, [counter.row_ctid for counter in counters], [counter.amount for counter in counters]
    )
