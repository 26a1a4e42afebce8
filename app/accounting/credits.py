"""Credits of prepaid orders: money that an advertiser paid in advance, booked once for each idempotency key."""

from dataclasses import dataclass, replace
from decimal import Decimal

from asyncpg import Connection, Record

from app.accounting.text_limits import require_key_and_reason
from app.domain import AMOUNT_MAX
from app.errors import InvalidEntry
from app.store import budget_changes, budget_periods, catalog_writer, order_credits
from app.store.order_credits import CreditedOrder


@dataclass(frozen=True, slots=True)
class Credit:
    """An amount that the campaigns of a prepaid order may spend in addition; negative to take money back."""

    order_id: str
    amount: Decimal
    reason: str
    key: str


@dataclass(frozen=True, slots=True)
class BookedCredit:
    """A credit and its order's money after it; `is_repeat` is True if the same key had booked it before."""

    order_id: str
    amount: Decimal
    currency: str
    credited: Decimal
    """The sum of all credits."""
    used: Decimal
    """The amount that is spent and held."""
    remaining: Decimal
    """The amount that may still be spent, which the order's own budget limits too."""
    is_repeat: bool


async def credit_order(connection: "Connection[Record]", wanted: Credit) -> BookedCredit:
    """Book a credit in its own transaction. Raises InvalidEntry, and then books nothing.

    Like a change of the campaign file, it locks the catalog: one transaction at a time sets the limits of orders. The
    order's budget is locked last, because every ad of the order waits for it.
    """
    require_key_and_reason(wanted.key, wanted.reason)
    async with connection.transaction():
        await catalog_writer.lock_catalog(connection)
        previous = await order_credits.find_credit(connection, wanted.key)
        if previous is not None:
            _require_same(wanted, previous)
        order = await order_credits.read_order(connection, wanted.order_id)
        if order is None:
            raise InvalidEntry("order_id", f"unknown order {wanted.order_id!r}")
        if previous is not None:
            return await _booked(connection, wanted, order, is_repeat=True)
        _require_creditable(wanted, order)
        after = replace(order, credited=order.credited + wanted.amount)
        booked = await _booked(connection, wanted, after, is_repeat=False)
        if wanted.amount < 0 and booked.used > booked.credited:
            lowest = min(booked.used - order.credited, Decimal(0))
            reason = f"{booked.used:.6f} of the {order.credited:.6f} credited is spent and held"
            raise InvalidEntry("amount", f"must be at least {lowest:.6f} {order.currency}, because {reason}")
        await order_credits.insert_credit(connection, wanted.key, wanted.order_id, wanted.amount, wanted.reason)
        await budget_changes.apply_new_limits(connection, [budget_changes.order_budget_id(wanted.order_id)])
        return booked


def _require_same(wanted: Credit, previous: Record) -> None:
    """Raise InvalidEntry if the key was used for another credit."""
    if (previous["order_id"], previous["amount"], previous["reason"]) != (
        wanted.order_id,
        wanted.amount,
        wanted.reason,
    ):
        used_for = f"{previous['amount']:+.6f} {previous['currency']} to order {previous['order_id']}"
        raise InvalidEntry("key", f"key {wanted.key} was already used with different values, to credit {used_for}")


def _require_creditable(wanted: Credit, order: CreditedOrder) -> None:
    """Raise InvalidEntry if the order is not prepaid, or if its credits would be more than an amount may be."""
    if not order.prepaid:
        raise InvalidEntry("order_id", f"must be a prepaid order, and order {wanted.order_id} is not prepaid")
    if order.credited + wanted.amount >= AMOUNT_MAX:
        room = AMOUNT_MAX - order.credited
        raise InvalidEntry("amount", f"must be less than {room:.6f} {order.currency}, because the sum is limited")


async def _booked(
    connection: "Connection[Record]", wanted: Credit, order: CreditedOrder, *, is_repeat: bool
) -> BookedCredit:
    """Lock the order's budget and return the credit with the order's money."""
    await budget_periods.open_order_budgets(connection, [wanted.order_id])
    used = await order_credits.lock_budget(connection, wanted.order_id)
    limit = order.credited if order.budget is None else min(order.budget, order.credited)
    return BookedCredit(
        order_id=wanted.order_id,
        amount=wanted.amount,
        currency=order.currency,
        credited=order.credited,
        used=used,
        remaining=max(limit - used, Decimal(0)),
        is_repeat=is_repeat,
    )
