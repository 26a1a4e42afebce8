"""Each event is recorded in the transaction that causes it, and once."""

import asyncio
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import asyncpg
import orjson
import pytest

from app.accounting.corrections import Adjustment, adjust
from app.accounting.month_close import close_month
from app.domain import Event
from app.maintenance.tasks import EVENT_DAYS, UNDELIVERED_DAYS, Maintenance
from app.store import holds, outbox
from app.store.connections import Store
from tests.integration.accounting.order_world import apply_tables, in_order, order, pay, pay_one, pay_until_refused
from tests.integration.accounting.world import (
    beacon,
    campaign,
    connected,
    payment,
    serve_many,
    set_clock,
    set_up,
)
from tests.integration.webhooks.receiver import set_up_webhook


async def events(url: str) -> list[dict[str, Any]]:
    """Every event, with its payload."""
    async with connected(url) as connection:
        rows = await connection.fetch("SELECT event, subject, payload FROM outbox ORDER BY id")
    return [{"event": row["event"], "subject": row["subject"], **orjson.loads(row["payload"])} for row in rows]


async def reached(url: str) -> list[tuple[str, str, str]]:
    """The event, what was used and the limit of each threshold that was reached."""
    return [(item["event"], item["used"], item["limit"]) for item in await events(url) if "percent" in item]


async def test_a_budget_reaches_each_threshold_once_under_concurrency(store: Store, database: str) -> None:
    limits = {"lifetime": {"amount": "250", "impressions": 90}}
    await set_up(store, campaign("spring", billing="serve", budgets=limits))
    paid = await pay_until_refused(store, [["spring"] * 3])
    assert len(paid) == 90
    found = await events(database)
    assert sorted((item["event"], item["unit"]) for item in found) == [
        ("budget.reached_100_percent", "impressions"),
        ("budget.reached_80_percent", "amount"),
        ("budget.reached_80_percent", "impressions"),
    ]
    (money,) = (item for item in found if item["unit"] == "amount")
    assert Decimal(200) <= Decimal(money["used"]) < Decimal(210)
    assert (money["campaign_id"], money["currency"], money["limit"]) == ("spring", "USD", "250.000000")


async def test_an_order_reaches_its_thresholds_by_its_campaigns_together(store: Store, database: str) -> None:
    await apply_tables(store, [order(budget="100")], [in_order("c1"), in_order("c2"), in_order("c3", cpm="5000")])
    await pay_until_refused(store, [["c1", "c2"], ["c3"], ["c2", "c1"]])
    found = await events(database)
    assert [item["event"] for item in found] == ["order.reached_80_percent", "order.reached_100_percent"]
    assert {(item["order_id"], item["subject"], item["currency"]) for item in found} == {("o1", "order o1", "USD")}
    assert found[1]["used"] == "100.000000"


async def test_settling_and_serving_again_after_a_release_is_no_new_event(store: Store, database: str) -> None:
    await set_up(store, campaign("spring", budgets={"lifetime": "10"}))
    served = await serve_many(store, "spring", 4)
    first = [("budget.reached_80_percent", "10.000000", "10.000000")]
    first.append(("budget.reached_100_percent", "10.000000", "10.000000"))
    assert await reached(database) == first
    async with store.connection() as connection:
        await holds.record_beacons(connection, [beacon(served[0]), beacon(served[1], Event.ERROR)])
    await serve_many(store, "spring", 1)
    assert await reached(database) == first


async def test_a_raised_limit_has_thresholds_of_its_own(store: Store, database: str) -> None:
    await set_up(store, campaign("spring", billing="serve", budgets={"lifetime": "10"}))
    await serve_many(store, "spring", 4)
    await set_up(store, campaign("spring", billing="serve", budgets={"lifetime": "20"}))
    await serve_many(store, "spring", 2)
    assert await reached(database) == [
        ("budget.reached_80_percent", "10.000000", "10.000000"),
        ("budget.reached_100_percent", "10.000000", "10.000000"),
    ]
    await serve_many(store, "spring", 1)
    assert (await reached(database))[2:] == [("budget.reached_80_percent", "17.500000", "20.000000")]


async def test_an_adjustment_and_a_lowered_limit_reach_thresholds(store: Store, database: str) -> None:
    await set_up(store, campaign("spring", billing="serve", budgets={"lifetime": "100"}))
    await serve_many(store, "spring", 1)
    async with connected(database) as connection:
        await adjust(connection, Adjustment("spring", Decimal(80), "one more video", "k1"))
    assert await reached(database) == [("budget.reached_80_percent", "82.500000", "100.000000")]
    await set_up(store, campaign("spring", billing="serve", budgets={"lifetime": "90"}))
    assert len(await reached(database)) == 1
    await set_up(store, campaign("other", billing="serve", budgets={"lifetime": "100"}))
    await serve_many(store, "other", 2)
    await set_up(store, campaign("other", billing="serve", budgets={"lifetime": "6"}))
    assert (await reached(database))[1:] == [("budget.reached_80_percent", "5.000000", "6.000000")]


async def test_a_budget_of_nothing_reaches_nothing(store: Store, database: str) -> None:
    await set_up(store, campaign("spring", billing="serve", budgets={"lifetime": "0"}))
    await serve_many(store, "spring", 0)
    assert await pay_one(store, "spring") == "budget"
    assert await reached(database) == []


async def test_a_campaign_is_over_once(store: Store, database: str) -> None:
    await set_up(store, campaign("ended"), campaign("flight"), campaign("extended"), campaign("running"))
    await set_up(store, campaign("ended", status="ended"))
    await set_clock(database, "'2040-01-02T00:00:00Z'::timestamptz")
    run = Maintenance(store, 35).tasks["flights ended"].run
    later = datetime(2041, 1, 1, tzinfo=UTC)
    await set_up(store, campaign("running", ends_at=later))
    assert [await run(), await run()] == [2, 0]
    await set_up(store, campaign("flight", status="ended"))
    await set_up(store, campaign("extended", ends_at=later))
    await set_clock(database, "'2041-01-02T00:00:00Z'::timestamptz")
    assert [await run(), await run()] == [2, 0]
    over = [(item["campaign_id"], item["reason"], item.get("ends_at")) for item in await events(database)]
    assert over == [
        ("ended", "ended", None),
        ("extended", "flight", "2040-01-01T00:00:00Z"),
        ("flight", "flight", "2040-01-01T00:00:00Z"),
        ("extended", "flight", "2041-01-01T00:00:00Z"),
        ("running", "flight", "2041-01-01T00:00:00Z"),
    ]


async def test_a_closed_month_is_an_event_of_the_closing_transaction(database: str) -> None:
    async with connected(database) as connection:
        await close_month(connection, date(2020, 1, 1))
        await close_month(connection, date(2020, 1, 1))
    assert await events(database) == [{"event": "month.closed", "subject": "month 2020-01", "month": "2020-01"}]


async def test_books_that_disagree_are_an_event_once_for_each_change(store: Store, database: str) -> None:
    async def check(disagreements: int) -> int:
        """The number of three servers that recorded the change."""

        async def one() -> bool:
            async with store.connection() as connection:
                return await outbox.record_books_state(connection, disagreements)

        return sum(await asyncio.gather(one(), one(), one()))

    assert [await check(count) for count in (0, 2, 3, 0, 0, 1)] == [0, 1, 0, 1, 0, 1]
    assert [(item["event"], item["disagreements"]) for item in await events(database)] == [
        ("books.disagree", 2),
        ("books.agree", 0),
        ("books.disagree", 1),
    ]


async def test_the_server_cannot_change_an_event(app_database: str) -> None:
    async with connected(app_database) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("UPDATE outbox SET payload = '{}'")


async def test_finance_reads_no_secret(finance_database: str) -> None:
    async with connected(finance_database) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("SELECT secret FROM webhooks")


async def test_old_events_are_removed_when_nobody_waits_for_them(store: Store, database: str) -> None:
    await set_up_webhook(store, url="http://127.0.0.1:1/")
    async with connected(database) as connection:
        await connection.execute(
            "INSERT INTO outbox (event, subject, payload, created_at) "
            "SELECT 'books.agree', 'books', '{}', now() - make_interval(days => d) FROM unnest($1::int[]) AS d",
            [EVENT_DAYS - 1, EVENT_DAYS + 1, UNDELIVERED_DAYS + 1],
        )
    run = Maintenance(store, 35).tasks["events removed"].run
    assert await run() == 0  # they are not published yet
    async with store.transaction() as connection:
        assert await outbox.publish_events(connection, 10) == 3
    assert await run() == 2  # the oldest delivery and its event
    async with connected(database) as connection:
        await connection.execute("DELETE FROM webhook_deliveries")
    assert await run() == 1
    assert len(await events(database)) == 1


async def test_an_event_is_rolled_back_with_its_cause(store: Store, database: str) -> None:
    await set_up(store, campaign("spring", billing="serve", budgets={"lifetime": "2.50"}))
    await serve_many(store, "spring", 0)
    async with store.serving_connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        paid, _ = await pay(connection, [payment("spring")])
        assert len(paid) == 1
        await transaction.rollback()
    assert await events(database) == []
