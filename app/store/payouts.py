"""payouts: money that was paid to publishers, and what they are owed."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from asyncpg import Connection, Record

LOCK_PAYOUT_KEY = "SELECT pg_advisory_xact_lock(hashtextextended('payout ' || $1, 0))"
"""Lock an idempotency key, so that one transaction at a time uses it."""

FIND_PAYOUT = "SELECT publisher_id, currency, amount, recorded_at FROM payouts WHERE idempotency_key = $1"
"""Find the payout that was recorded under a key."""

READ_PUBLISHER_NAME = "SELECT name FROM publishers WHERE id = $1"
"""Read the name of a publisher."""

FIND_ACCOUNT_CURRENCIES = """
SELECT DISTINCT currency FROM finance.publisher_statement WHERE publisher_id = $1 ORDER BY currency
"""
"""Find the currencies in which a publisher earned or was paid."""

FIND_SOLD_CURRENCIES = "SELECT currency FROM campaigns UNION SELECT currency FROM orders ORDER BY currency"
"""Find the currencies of campaigns and orders."""

INSERT_PAYOUT = """
INSERT INTO payouts (idempotency_key, publisher_id, publisher_name, currency, amount, recorded_at, recorded_by)
VALUES ($1, $2, $3, $4, $5, adserver_clock(), session_user)
"""
"""Record a payout under its key, with the time and the database user."""

READ_AMOUNT_OWED = """
SELECT closing_balance FROM finance.publisher_statement
WHERE publisher_id = $1 AND currency = $2 ORDER BY month DESC LIMIT 1
"""
"""Read what a publisher is owed after its last entry and payout."""


@dataclass(frozen=True, slots=True)
class StoredPayout:
    """A payout as it was recorded."""

    publisher_id: str
    currency: str
    amount: Decimal
    recorded_at: datetime


async def find_payout(connection: "Connection[Record]", key: str) -> StoredPayout | None:
    """Return the payout under the key, if any; no other transaction can use the key until this one ends."""
    await connection.execute(LOCK_PAYOUT_KEY, key)
    row = await connection.fetchrow(FIND_PAYOUT, key)
    return None if row is None else StoredPayout(**row)


async def read_publisher_name(connection: "Connection[Record]", publisher_id: str) -> str | None:
    """Return the name of the publisher, or None if it does not exist."""
    name: str | None = await connection.fetchval(READ_PUBLISHER_NAME, publisher_id)
    return name


async def find_account_currencies(connection: "Connection[Record]", publisher_id: str) -> list[str]:
    """Return the currencies in which the publisher earned or was paid."""
    return [row["currency"] for row in await connection.fetch(FIND_ACCOUNT_CURRENCIES, publisher_id)]


async def find_sold_currencies(connection: "Connection[Record]") -> list[str]:
    """Return the currencies in which anything is sold."""
    return [row["currency"] for row in await connection.fetch(FIND_SOLD_CURRENCIES)]


async def insert_payout(
    connection: "Connection[Record]", key: str, publisher_id: str, publisher_name: str, currency: str, amount: Decimal
) -> None:
    """Record a payout."""
    await connection.execute(INSERT_PAYOUT, key, publisher_id, publisher_name, currency, amount)


async def read_amount_owed(connection: "Connection[Record]", publisher_id: str, currency: str) -> Decimal:
    """Return what the publisher earned in the currency, less what it was paid; negative after an advance."""
    owed: Decimal | None = await connection.fetchval(READ_AMOUNT_OWED, publisher_id, currency)
    return owed if owed is not None else Decimal(0)
