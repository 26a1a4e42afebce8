"""Campaigns, ads and beacons written to the database directly, for accounting tests."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import asyncpg
from asyncpg import Connection, Record

from app.accounting.reconcile import reconcile
from app.campaign_file.apply import apply
from app.campaign_file.parser import read_draft
from app.domain import Event
from app.serving.keys import new_request_key
from app.store import budget_periods, caps, spending
from app.store.connections import Store, Timeouts
from app.store.holds import Beacon
from app.store.ledger_checks import Disagreement
from app.store.spending import Payment

PRICE = Decimal("2.5")

CLOCK = "CREATE OR REPLACE FUNCTION adserver_clock() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE RETURN {}"


async def repair(connection: "Connection[Record]", statement: str, reason: str) -> None:
    """Run a statement that changes the books, as a repair with a reason."""
    async with connection.transaction():
        await connection.execute("SELECT set_config('adserver.repair', $1, true)", reason)
        await connection.execute(statement)


def open_store(url: str, *, serving: int = 4, others: int = 4) -> Store:
    timeouts = Timeouts(lock_ms=20_000, statement_ms=20_000, idle_in_transaction_ms=20_000)
    return Store(url, serving_connections=serving, general_connections=others, timeouts=timeouts)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator["Connection[Record]"]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def set_clock(url: str, expression: str) -> None:
    """Set the clock of this database to an SQL expression; "transaction_timestamp()" is the real time."""
    async with connected(url) as connection:
        await connection.execute(CLOCK.format(expression))


def campaign(campaign_id: str, **values: object) -> dict[str, object]:
    """A campaign as a campaign file has it: 2.50 an impression, a lifetime budget of 1,000,000."""
    return {
        "id": campaign_id,
        "advertiser": "Acme",
        "currency": "USD",
        "starts_at": datetime(2020, 1, 1, tzinfo=UTC),
        "ends_at": datetime(2040, 1, 1, tzinfo=UTC),
        "cpm": "2500",
        "billing": "impression",
        "budgets": {"lifetime": "1000000"},
    } | values


async def set_up(store: Store, *campaigns: Mapping[str, object]) -> None:
    """Apply the campaigns, each with one creative."""
    creatives = [
        {
            "id": f"{values['id']}-video",
            "campaign_id": values["id"],
            "title": "Acme",
            "duration_s": 15,
            "media_files": [{"url": "https://cdn.example/a.mp4", "type": "video/mp4", "width": 640, "height": 360}],
        }
        for values in campaigns
    ]
    await apply(store, read_draft("test", {"campaigns": list(campaigns), "creatives": creatives}))


def entry(campaign_id: str, booked_on: str, **columns: str) -> str:
    """Return a statement that books an adjustment of 1 on this day; the columns are SQL expressions."""
    values = {
        "booked_at": "now()",
        "booked_on": f"date '{booked_on}'",
        "kind": "'adjustment'",
        "advertiser_id": "'Acme'",
        "advertiser_name": "'Acme'",
        "campaign_id": f"'{campaign_id}'",
        "amount": "1",
        "publisher_amount": "0",
        "house_amount": "1",
        "currency": "'USD'",
        "hour_start": "now()",
        "day_start": "now()",
    } | columns
    return f"INSERT INTO spend_ledger ({', '.join(values)}) VALUES ({', '.join(values.values())})"


def payment(campaign_id: str, user_key: UUID | None = None, session_id: UUID | None = None) -> Payment:
    return Payment(new_request_key(), 0, campaign_id, f"{campaign_id}-video", None, None, user_key, session_id, 0)


async def serve(connection: "Connection[Record]", payments: Sequence[Payment]) -> list[Payment]:
    """Serve one group as the server does: take caps, spend, give back. Return the payments that succeeded."""
    async with connection.transaction():
        taken = await caps.take(connection, [_count(item) for item in payments])
        refused = {payments[short.position].request_key for short in taken.shortfalls}
        asking = [item for item in payments if item.request_key not in refused]
        refusals = (await spending.spend(connection, asking)).refusals if asking else {}
        assert "missing_period" not in refusals.values()
        paid = [item for position, item in enumerate(asking) if position not in refusals]
        unpaid = [item for item in payments if item not in paid]
        if unpaid:
            short = [item._replace(position=unpaid.index(payments[item.position])) for item in taken.shortfalls]
            await caps.give_back(
                connection, [_count(item) for item in unpaid], [0] * len(unpaid), [()] * len(unpaid), short
            )
    return paid


def _count(item: Payment) -> caps.CapIncrement:
    return caps.CapIncrement(item.campaign_id, item.user_key, item.session_id)


async def serve_many(store: Store, campaign_id: str, count: int, group: int = 128) -> list[Payment]:
    """Serve `count` ads, each to a different user."""
    served: list[Payment] = []
    async with store.serving_connection() as connection:
        await budget_periods.open_periods(connection, [campaign_id])
        while len(served) < count:
            size = min(group, count - len(served))
            served += await serve(connection, [payment(campaign_id, uuid4()) for _ in range(size)])
    return served


def beacon(served: Payment, event: Event = Event.IMPRESSION) -> Beacon:
    return Beacon(served.request_key, served.slot, datetime.now(UTC).date(), served.campaign_id, event.value)


def beacon_of_day(served: Payment, served_on: date) -> Beacon:
    """The impression of an ad that was served on this day of the database's clock."""
    return Beacon(served.request_key, served.slot, served_on, served.campaign_id, Event.IMPRESSION.value)


async def disagreements(url: str) -> list[Disagreement]:
    """Return the disagreements that `adserver reconcile` would print."""
    found: list[Disagreement] = []
    async with connected(url) as connection:
        await reconcile(connection, lambda _rule, wrong, _seconds: found.extend(wrong))
    return found


async def balance(url: str, campaign_id: str, period: str = "lifetime") -> tuple[Decimal, Decimal, int]:
    """Spent, held, and ads charged or held, in the latest such period."""
    async with connected(url) as connection:
        row = await connection.fetchrow(
            "SELECT spent, held, impressions FROM budget_tracking WHERE campaign_id = $1 AND period = $2 "
            "ORDER BY period_start DESC LIMIT 1",
            campaign_id,
            period,
        )
    assert row is not None
    return row["spent"], row["held"], row["impressions"]
