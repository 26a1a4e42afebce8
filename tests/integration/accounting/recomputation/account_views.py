"""The rows of the views of budgets, orders, payments and documents, from the recomputed books."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from tests.integration.accounting.recomputation.books import LIFETIME, Books, Entry, Payment, total
from tests.integration.accounting.recomputation.company import Item
from tests.integration.accounting.recomputation.spend_views import (
    Row,
    amounts,
    charges,
    corrections_of,
    counts,
    first_on_last_day,
    grouped,
    held_sums,
    percentage,
)

FIRST_HASH = bytes(32).hex()


def period_start(period: str, at: datetime | None, timezone: str) -> datetime:
    """The start of the budget period in which something counts; what has no moment counts in the lifetime alone."""
    if period == "lifetime" or at is None:
        return LIFETIME
    if period == "hour":
        return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    day = at.astimezone(ZoneInfo(timezone)).date()
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(timezone)).astimezone(UTC)


def limits(item: Item, period: str) -> tuple[Decimal | None, int | None]:
    """The budget of a campaign in money and in ads."""
    budget = item.get("budgets", {}).get(period)
    if not isinstance(budget, dict):
        return (None if budget is None else Decimal(budget)), None
    amount = budget.get("amount")
    return (None if amount is None else Decimal(amount)), budget.get("impressions")


def budgets(books: Books) -> list[Row]:
    """The budget periods in which anything counts."""
    rows: list[Row] = []
    for campaign_id, campaign in books.items["campaigns"].items():
        for period in campaign.get("budgets", {}):
            rows += _periods(books, campaign, "campaign_id", campaign_id, period, limits(campaign, period))
    for order_id, order in books.items["orders"].items():
        rows += _periods(books, order, "order_id", order_id, "lifetime", books.order_limits(order_id))
    return rows


def _periods(
    books: Books, item: Item, owner: str, owner_id: str, period: str, limit: tuple[Decimal | None, int | None]
) -> Iterable[Row]:
    timezone = item.get("timezone", "UTC")
    ads = grouped(
        [ad for ad in books.ads if getattr(ad.parties, owner) == owner_id and ad.counted_at],
        lambda ad: period_start(period, ad.counted_at, timezone),
    )
    entries = grouped(
        [entry for entry in books.entries if getattr(entry.parties, owner) == owner_id],
        lambda entry: period_start(period, entry.counted_at, timezone),
    )
    for start in {*ads, *(start for start in entries if period == "lifetime" or start != LIFETIME)}:
        spent = total(entries.get(start, []))
        held = sum((ad.price for ad in ads.get(start, []) if ad.is_held), Decimal(0))
        yield {
            "campaign_id": None,
            "order_id": None,
            owner: owner_id,
            "advertiser": books.name("advertisers", item["advertiser"]),
            "period": period,
            "period_start": start,
            "currency": item["currency"],
            "spent": spent,
            "held": held,
            "impressions": len(ads.get(start, [])),
            "running": start == period_start(period, books.now, timezone),
            **_against_limit(books, item, period, start, limit, spent, held, len(ads.get(start, []))),
        }


def _against_limit(
    books: Books,
    item: Item,
    period: str,
    start: datetime,
    limit: tuple[Decimal | None, int | None],
    spent: Decimal,
    held: Decimal,
    ads: int,
) -> Row:
    amount, impressions = at_least_used(limit, spent + held, ads)
    return {
        "limit": amount,
        "remaining": None if amount is None else amount - spent - held,
        "percentage_spent": None if amount is None else percentage(spent, amount),
        "even_pace": None if amount is None else amount * passed_part(books, item, period, start),
        "impressions_limit": impressions,
        "impressions_remaining": None if impressions is None else impressions - ads,
    }


def passed_part(books: Books, item: Item, period: str, start: datetime) -> Decimal:
    """The part of the flight or day that has passed."""
    begins, ends = start, start
    if period == "lifetime" and "starts_at" in item:
        begins, ends = item["starts_at"], item["ends_at"]
    elif period == "day":
        local = start.astimezone(ZoneInfo(item["timezone"]))
        ends = (local + timedelta(days=1)).astimezone(UTC)
    if ends == begins:
        return Decimal(1)
    return min(
        Decimal((books.now - begins) // timedelta(seconds=1)) / ((ends - begins) // timedelta(seconds=1)), Decimal(1)
    )


def campaigns(books: Books) -> list[Row]:
    held = grouped(books.held(), lambda ad: ad.parties.campaign_id)
    booked = grouped(books.entries, lambda e: e.parties.campaign_id)
    rows = []
    for campaign_id, item in books.items["campaigns"].items():
        entries, holds = booked.get(campaign_id, []), held_sums(held.get(campaign_id, []))
        row = {
            "campaign_id": campaign_id,
            "order_id": item.get("order"),
            "advertiser_id": item["advertiser"],
            "advertiser": books.name("advertisers", item["advertiser"]),
            "status": item.get("status", "active"),
            "pacing": "asap",
            "front_percent": None,
            "cpm": Decimal(item["cpm"]),
            "price_model": "cpm",
            "price": Decimal(item["cpm"]),
            **{key: item[key] for key in ("currency", "timezone", "starts_at", "ends_at", "billing")},
        }
        for period in ("hour", "day", "lifetime"):
            row[f"{period}_budget"], row[f"{period}_impressions"] = limits(item, period)
        rows.append(row | _account(entries, holds, limits(item, "lifetime")))
    return rows


def at_least_used(
    limit: tuple[Decimal | None, int | None], used: Decimal, ads: int
) -> tuple[Decimal | None, int | None]:
    """A limit that was lowered below what is used already is what is used."""
    amount, impressions = limit
    return None if amount is None else max(amount, used), None if impressions is None else max(impressions, ads)


def _account(entries: list[Entry], holds: Row, limit: tuple[Decimal | None, int | None]) -> Row:
    """What was booked for a campaign or an order, and what remains of its limits."""
    sums, number = amounts(entries, "booked"), counts(entries)
    used, used_ads = sums["booked"] + holds["held"], number["impressions"] + holds["open_holds"]
    amount, impressions = at_least_used(limit, used, used_ads)
    return {
        **sums,
        **number,
        **holds,
        "remaining": None if amount is None else amount - used,
        "impressions_remaining": None if impressions is None else impressions - used_ads,
    }


def orders(books: Books) -> list[Row]:
    held = grouped(books.held(), lambda ad: ad.parties.order_id)
    booked = grouped(books.entries, lambda e: e.parties.order_id)
    return [
        {
            "order_id": order_id,
            "advertiser_id": order["advertiser"],
            "advertiser": books.name("advertisers", order["advertiser"]),
            "prepaid": order.get("prepaid", False),
            "currency": order["currency"],
            "budget": Decimal(order["budget"]) if "budget" in order else None,
            "credited": books.credited(order_id),
            "impressions_limit": order.get("impressions"),
            **{key: order.get(key) for key in ("purchase_order", "starts_at", "ends_at")},
            **_account(booked.get(order_id, []), held_sums(held.get(order_id, [])), books.order_limits(order_id)),
        }
        for order_id, order in books.items["orders"].items()
    ]


def order_credits(books: Books) -> list[Row]:
    """Shows the advertiser's name of today."""
    return [
        {
            "order_id": credit.party_id,
            "advertiser": books.name("advertisers", books.items["orders"][credit.party_id]["advertiser"]),
            "reason": credit.reason,
            **_payment(books, credit),
        }
        for credit in books.credits
    ]


def payouts(books: Books) -> list[Row]:
    return [
        {"publisher_id": payout.party_id, "publisher": payout.name, **_payment(books, payout)}
        for payout in books.payouts
    ]


def _payment(books: Books, payment: Payment) -> Row:
    return {
        "amount": payment.amount,
        "currency": payment.currency,
        "recorded_at": payment.recorded_at,
        "recorded_by": books.role,
        "idempotency_key": payment.key,
    }


def publisher_statement(books: Books) -> list[Row]:
    earning = grouped(
        [entry for entry in books.entries if entry.parties.publisher_id],
        lambda e: (e.parties.publisher_id, e.currency, e.month),
    )
    paid = grouped(
        books.payouts, lambda p: (p.party_id, p.currency, p.recorded_at.astimezone(UTC).date().replace(day=1))
    )
    rows: list[Row] = []
    balances: dict[tuple[str, str], Decimal] = {}
    for publisher_id, currency, month in sorted({*earning, *paid}):
        key = (publisher_id, currency, month)
        row = _statement(earning.get(key, []), paid.get(key, []), balances.get(key[:2], Decimal(0)))
        balances[key[:2]] = row["closing_balance"]
        rows.append({"publisher_id": publisher_id, "currency": currency, "month": month, **row})
    return rows


def _statement(entries: list[Entry], payments: list[Payment], opening: Decimal) -> Row:
    earned = total(entries, "publisher_amount")
    paid = sum((payment.amount for payment in payments), Decimal(0))
    return {
        "publisher": _account_name(entries, payments),
        "opening_balance": opening,
        "delivered": total(charges(entries), "publisher_amount"),
        "corrected": total(corrections_of(entries), "publisher_amount"),
        "earned": earned,
        "paid": paid,
        "closing_balance": opening + earned - paid,
    }


def _account_name(entries: list[Entry], payments: list[Payment]) -> str:
    booked = [((entry.booked_on, entry.recorded_on), str(entry.parties.publisher)) for entry in entries]
    days = [(payment.recorded_at.astimezone(UTC).date(), payment.name) for payment in payments]
    return first_on_last_day(booked + [((day, day), name) for day, name in days])


def closed_months(books: Books) -> list[Row]:
    hashes = [FIRST_HASH, *(closed.hash for closed in books.closed)]
    return [
        {
            "month": closed.month,
            "closed_at": closed.closed_at,
            "closed_by": books.role,
            "entries": closed.entries,
            "hash": closed.hash,
            "previous_hash": previous_hash,
            "archived": False,
        }
        for closed, previous_hash in zip(books.closed, hashes, strict=False)
    ]


def invoices(books: Books) -> list[Row]:
    return books.invoices


def invoice_details(books: Books) -> list[Row]:
    return books.invoice_details


def nothing(_books: Books) -> list[Row]:
    return []
