"""Revenue shares: each amount is split between publisher and house when its ad is served, to the last unit."""

from decimal import ROUND_HALF_EVEN, Decimal

import asyncpg
import pytest
from asyncpg import Record
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.accounting.corrections import Adjustment, Reversal, adjust, reverse
from app.beacons.settlement import settle, sweep
from app.store.connections import Store
from tests.integration.accounting.order_world import apply_tables, in_order, on_placement, open_budgets, order, pay
from tests.integration.accounting.world import beacon, connected, disagreements, payment

UNIT = Decimal("0.000001")
ENTRIES = """
SELECT kind, publisher_id, amount, publisher_amount, house_amount FROM spend_ledger
WHERE amount = publisher_amount + house_amount ORDER BY booked_at, entry_id
"""


async def ledger(url: str) -> list[Record]:
    async with connected(url) as connection:
        return await connection.fetch(ENTRIES)


def publisher(share: str, publisher_id: str = "p1") -> dict[str, object]:
    return {"id": publisher_id, "revenue_share": share}


async def set_up(store: Store, share: str, **values: object) -> None:
    """Publisher p1 with this share, and a campaign of 1.234567 an ad."""
    await apply_tables(store, [order()], [in_order("a", "1234.567", **values)], [publisher(share)], ["a"])
    await open_budgets(store, ["a"])


@hypothesis_settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    splits=st.lists(
        st.tuples(st.decimals(0, 10**11, places=6) | st.decimals(0, "0.01", places=6), st.decimals(0, 1, places=4)),
        min_size=1,
        max_size=200,
    )
)
@example(splits=[(UNIT * units, Decimal("0.5")) for units in range(12)])
@example(splits=[(UNIT * units, Decimal("0.25")) for units in range(12)])
async def test_the_publishers_part_is_rounded_half_to_even(
    database: str, splits: list[tuple[Decimal, Decimal]]
) -> None:
    async with connected(database) as connection:
        parts = await connection.fetch(
            "SELECT publisher_part(amount, share) AS part "
            "FROM unnest($1::numeric[], $2::numeric[]) WITH ORDINALITY AS s (amount, share, n) ORDER BY n",
            *zip(*splits, strict=True),
        )
    expected = [(amount * share).quantize(UNIT, ROUND_HALF_EVEN) for amount, share in splits]
    assert [row["part"] for row in parts] == expected


@pytest.mark.parametrize(
    ("share", "part"),
    [("0", "0"), ("1", "1.234567"), ("0.5", "0.617284"), ("0.7", "0.864197"), ("0.0001", "0.000123")],
)
async def test_an_entry_is_split_by_the_share(store: Store, database: str, share: str, part: str) -> None:
    await set_up(store, share)
    async with store.serving_connection() as connection:
        await pay(connection, [on_placement("a"), payment("a")])
    on_a_placement, by_id = sorted(await ledger(database), key=lambda row: row["publisher_id"] is None)
    assert (on_a_placement["publisher_id"], on_a_placement["publisher_amount"]) == ("p1", Decimal(part))
    assert on_a_placement["house_amount"] == Decimal("1.234567") - Decimal(part)
    assert (by_id["publisher_id"], by_id["publisher_amount"], by_id["house_amount"]) == (None, 0, Decimal("1.234567"))


async def test_publishers_of_one_group_have_their_own_shares(store: Store, database: str) -> None:
    await set_up(store, "0.5")
    await apply_tables(store, publishers=[publisher("0.25", "p2"), {"id": "p3"}], sold=["a"])
    async with store.serving_connection() as connection:
        await pay(connection, [on_placement("a", name) for name in ("p2", "p1", "p3", "p2")])
    parts = sorted((row["publisher_id"], row["publisher_amount"]) for row in await ledger(database))
    assert parts == [
        ("p1", Decimal("0.617284")),
        ("p2", Decimal("0.308642")),
        ("p2", Decimal("0.308642")),
        ("p3", Decimal(0)),
    ]


async def test_the_share_of_the_serve_counts_when_its_hold_is_settled(store: Store, database: str) -> None:
    await set_up(store, "0.5", billing="impression", late_impressions="charge")
    async with store.serving_connection() as connection:
        in_time, late = (await pay(connection, [on_placement("a"), on_placement("a")]))[0]
        await apply_tables(store, publishers=[publisher("0.9")])
        await settle(connection, [beacon(in_time)])
    async with connected(database) as superuser:
        await superuser.execute("UPDATE holds SET expires_at = now() - interval '1 second'")
    assert await sweep(store) == 1
    async with store.serving_connection() as connection:
        assert (await settle(connection, [beacon(late)])).settled == 1
        await pay(connection, [on_placement("a")])
        await settle(connection, [beacon(item) for item in (await pay(connection, [on_placement("a")]))[0]])
    assert [row["publisher_amount"] for row in await ledger(database)] == [
        Decimal("0.617284"),
        Decimal("0.617284"),
        Decimal("1.111110"),
    ]
    assert await disagreements(database) == []


async def test_a_reversal_is_split_as_its_entry_was(store: Store, database: str, app_database: str) -> None:
    await set_up(store, "0.5")
    async with store.serving_connection() as connection:
        await pay(connection, [on_placement("a")])
    await apply_tables(store, publishers=[publisher("0.9")])
    async with connected(app_database) as connection:
        await reverse(
            connection, Reversal(await connection.fetchval("SELECT entry_id FROM spend_ledger"), "fraud", "k")
        )
    charge, reversal = await ledger(database)
    assert (reversal["kind"], reversal["publisher_id"]) == ("reversal", "p1")
    assert (reversal["publisher_amount"], reversal["house_amount"]) == (
        -charge["publisher_amount"],
        -charge["house_amount"],
    )
    assert await disagreements(database) == []


async def test_an_adjustment_is_the_houses(store: Store, database: str, app_database: str) -> None:
    await set_up(store, "0.5")
    async with connected(app_database) as connection:
        await adjust(connection, Adjustment("a", Decimal("3.333333"), "fee", "k"))
    (entry,) = await ledger(database)
    assert (entry["publisher_id"], entry["publisher_amount"], entry["house_amount"]) == (None, 0, Decimal("3.333333"))


async def test_the_schema_refuses_an_amount_that_is_not_split(store: Store, database: str) -> None:
    await set_up(store, "0.5")
    async with store.serving_connection() as connection:
        await pay(connection, [on_placement("a")])
    copied = "booked_at, booked_on, kind, advertiser_id, advertiser_name, campaign_id, request_key, slot, amount"
    with pytest.raises(asyncpg.CheckViolationError, match="amount_is_split"):
        async with connected(database) as connection:
            await connection.execute(
                f"INSERT INTO spend_ledger ({copied}, publisher_amount, house_amount, currency, hour_start, day_start) "
                f"SELECT {copied}, publisher_amount + 0.000001, house_amount, currency, hour_start, day_start "
                "FROM spend_ledger"
            )
