"""order_credits: money that advertisers paid for prepaid orders, which limits what their campaigns may spend."""

from dataclasses import dataclass
from decimal import Decimal

from asyncpg import Connection, Record

from app.store.sql_fragments import ORDER_LIMIT

FIND_CREDIT = """
SELECT k.order_id, k.amount, k.reason, o.currency
FROM order_credits k JOIN orders o ON o.id = k.order_id WHERE k.idempotency_key = $1
"""
"""Find the credit that was recorded under a key."""

READ_CREDITED_ORDER = """
SELECT o.currency, o.prepaid, o.budget, coalesce(sum(k.amount), 0) AS credited
FROM orders o LEFT JOIN order_credits k ON k.order_id = o.id
WHERE o.id = $1 GROUP BY o.id
"""
"""Read an order and the sum of its credits."""

INSERT_CREDIT = """
INSERT INTO order_credits (idempotency_key, order_id, amount, reason, recorded_at, recorded_by)
VALUES ($1, $2, $3, $4, adserver_clock(), session_user)
"""
"""Record a credit under its key, with the time and the database user."""

APPLY_CREDITED_LIMIT = f"""
UPDATE configured_budgets b SET "limit" = {ORDER_LIMIT} FROM orders o WHERE o.id = $1 AND b.order_id = o.id
"""
"""Set the configured limit of a prepaid order after a credit; its running budget follows separately."""

LOCK_ORDER_BUDGET = """
SELECT spent + held AS used FROM budget_tracking t
WHERE t.budget_id = ' order ' || $1::varchar AND t.period = 'lifetime' AND t.period_start = to_timestamp(0)
FOR UPDATE
"""
"""Lock the budget of an order and return the amount that is spent and held."""


@dataclass(frozen=True, slots=True)
class CreditedOrder:
    """An order and the sum of its credits; `budget` is None if only the credits limit it."""

    currency: str
    prepaid: bool
    budget: Decimal | None
    credited: Decimal


async def find_credit(connection: "Connection[Record]", key: str) -> Record | None:
    """Return the credit recorded under the key, if any."""
    return await connection.fetchrow(FIND_CREDIT, key)


async def read_order(connection: "Connection[Record]", order_id: str) -> CreditedOrder | None:
    """Return the order, or None if it does not exist."""
    row = await connection.fetchrow(READ_CREDITED_ORDER, order_id)
    return None if row is None else CreditedOrder(**row)


async def insert_credit(
    connection: "Connection[Record]", key: str, order_id: str, amount: Decimal, reason: str
) -> None:
    """Record a credit and set the configured limit of its order."""
    await connection.execute(INSERT_CREDIT, key, order_id, amount, reason)
    await connection.execute(APPLY_CREDITED_LIMIT, order_id)


async def lock_budget(connection: "Connection[Record]", order_id: str) -> Decimal:
    """Lock the running budget of the order until the transaction ends; return the amount that is spent and held."""
    used: Decimal = await connection.fetchval(LOCK_ORDER_BUDGET, order_id)
    return used
