"""Payouts: money that was paid to publishers, recorded once for each idempotency key."""

from dataclasses import dataclass
from decimal import Decimal

from asyncpg import Connection, Record

from app.accounting.text_limits import KEY_LENGTH_MAX, require_text
from app.errors import InvalidEntry
from app.store import payouts
from app.store.payouts import StoredPayout


@dataclass(frozen=True, slots=True)
class Payout:
    """An amount that a publisher was paid; negative if the publisher paid it back."""

    publisher_id: str
    amount: Decimal
    key: str
    currency: str | None = None
    """May be omitted if the publisher earned in one currency."""


@dataclass(frozen=True, slots=True)
class RecordedPayout:
    """A recorded payout; `is_repeat` is True if the same key had recorded it before."""

    publisher_id: str
    amount: Decimal
    currency: str
    owed: Decimal
    """The amount that the publisher is owed now; negative if it was paid in advance."""
    is_repeat: bool


async def record_payout(connection: "Connection[Record]", payout: Payout) -> RecordedPayout:
    """Record a payout in its own transaction. Raises InvalidEntry, and then records nothing.

    A payout may exceed what is owed: publishers are paid in advance, and reversals take earnings back.
    """
    require_text("key", payout.key, KEY_LENGTH_MAX)
    async with connection.transaction():
        previous = await payouts.find_payout(connection, payout.key)
        if previous is not None:
            _require_same(payout, previous)
            return await _recorded(connection, payout, previous.currency, is_repeat=True)
        name = await payouts.read_publisher_name(connection, payout.publisher_id)
        if name is None:
            raise InvalidEntry("publisher_id", f"unknown publisher {payout.publisher_id!r}")
        currency = await _choose_currency(connection, payout)
        await payouts.insert_payout(connection, payout.key, payout.publisher_id, name, currency, payout.amount)
        return await _recorded(connection, payout, currency, is_repeat=False)


def _require_same(payout: Payout, previous: StoredPayout) -> None:
    """Raise InvalidEntry if the key was used for another payout."""
    wanted = (payout.publisher_id, payout.amount, payout.currency or previous.currency)
    if wanted != (previous.publisher_id, previous.amount, previous.currency):
        used_for = f"{previous.amount:.6f} {previous.currency} to publisher {previous.publisher_id}"
        raise InvalidEntry("key", f"key {payout.key} was already used with different values, to pay {used_for}")


async def _choose_currency(connection: "Connection[Record]", payout: Payout) -> str:
    """Return the currency of the payout. Raises InvalidEntry if it is ambiguous, or nothing is sold in it."""
    earned = await payouts.find_account_currencies(connection, payout.publisher_id)
    if payout.currency is None:
        if len(earned) == 1:
            return earned[0]
        cause = f"has an account in each of {', '.join(earned)}" if earned else "has earned nothing yet"
        raise InvalidEntry("currency", f"is required, because publisher {payout.publisher_id} {cause}")
    sold = await payouts.find_sold_currencies(connection)
    if payout.currency not in {*earned, *sold}:
        known = ", ".join(sorted({*earned, *sold})) or "none yet"
        raise InvalidEntry("currency", f"must be a currency of a campaign ({known}), got {payout.currency!r}")
    return payout.currency


async def _recorded(
    connection: "Connection[Record]", payout: Payout, currency: str, *, is_repeat: bool
) -> RecordedPayout:
    owed = await payouts.read_amount_owed(connection, payout.publisher_id, currency)
    return RecordedPayout(payout.publisher_id, payout.amount, currency, owed, is_repeat)
