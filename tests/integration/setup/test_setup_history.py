"""The history of what is set up: every change, by whichever way it was made, and never another one."""

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import tomli_w
from asyncpg import Connection, Record
from sqlalchemy.engine import make_url

from app.campaign_file.apply import apply
from app.campaign_file.exporter import to_entry
from app.campaign_file.parser import read_draft
from app.launch.demo import load_demo
from app.settings import Settings
from app.store.connections import Store
from app.store.setup_history import ChangeOrigin
from tests.clock import set_clock
from tests.integration.setup.files import Document, apply_document, campaign, creative, loaded, owned
from tests.launched import adserver
from tests.players import connected
from tests.unit.campaign_file.test_creative_elements import EVERYTHING

HISTORY = """
SELECT kind, id, version, old, new, changed_keys, author, role, source, revision FROM setup_history
ORDER BY changed_at, kind, id, version
"""

CHANGES = """
SELECT kind, id, key, old, new FROM finance.setup_changes WHERE version > 1 OR new IS NULL
ORDER BY changed_at, version, kind, id, key
"""

TERMS = "SELECT * FROM finance.terms_as_of($1) ORDER BY campaign_id"

SHAPES_WITH_MONEY = """
SELECT attrelid::regclass || '.' || attname FROM pg_attribute
WHERE attrelid = ANY ('{publishers,advertisers,orders,upstreams,campaigns,creatives,placements}'::regclass[])
    AND atttypid = 'numeric'::regtype AND attname <> 'duration_s'
"""

OWNERS = (
    "UPDATE {} SET id = id",
    "DELETE FROM {}",
    "TRUNCATE {}",
    "INSERT INTO {} (kind, id) VALUES ('campaign', 'x')",
)


async def history(url: str) -> list[Record]:
    async with connected(url) as connection:
        return [{**row, **_parsed(row)} for row in await connection.fetch(HISTORY)]  # type: ignore[misc]


def _parsed(row: Record) -> dict[str, Any]:
    return {key: None if row[key] is None else json.loads(row[key]) for key in ("old", "new")}


async def changes(url: str) -> list[tuple[Any, ...]]:
    """The keys that have changed since their items were created, as finance sees them."""
    async with connected(url) as connection:
        return [tuple(row) for row in await connection.fetch(CHANGES)]


async def execute(url: str, *statements: str) -> None:
    """Run the statements in one transaction."""
    async with connected(url) as connection, connection.transaction():
        for statement in statements:
            await connection.execute(statement)


def names(rows: Sequence[Record]) -> list[tuple[str, str]]:
    return [(row["kind"], row["id"]) for row in rows]


async def test_an_applied_file_is_recorded_with_its_author(store: Store, database: str) -> None:
    draft = read_draft("spring.toml", owned())
    applied = await apply(store, draft, origin=ChangeOrigin("file spring.toml", "Jane Doe"))
    rows = await history(database)
    assert names(rows) == [("advertiser", "Acme"), ("campaign", "spring"), ("creative", "spring-15s")]
    assert {(row["author"], row["role"], row["source"]) for row in rows} == {
        ("Jane Doe", "adserver_app", "file spring.toml")
    }
    assert {(row["version"], row["old"], row["revision"]) for row in rows} == {(1, None, applied.revision)}


async def test_without_a_name_the_author_is_the_database_role(store: Store, database: str) -> None:
    await apply_document(store, owned())
    assert {(row["author"], row["source"]) for row in await history(database)} == {("adserver_app", "file test.toml")}


async def test_applying_again_records_nothing(store: Store, database: str) -> None:
    await apply_document(store, owned(budgets={"day": "100"}, frequency_caps=[{"impressions": 3, "per": "day"}]))
    before = await history(database)
    await apply_document(store, owned(budgets={"day": "100"}, frequency_caps=[{"impressions": 3, "per": "day"}]))
    assert await history(database) == before


async def test_the_history_has_each_item_as_an_export_has_it(store: Store, database: str) -> None:
    document: Document = {
        "publishers": [{"id": "tv", "name": "TV", "revenue_share": "0.7"}],
        "advertisers": [{"id": "acme", "name": "Acme Corp", "billing_details": "1 Main Street"}],
        "orders": [{"id": "o1", "advertiser": "acme", "currency": "USD", "budget": "5000", "impressions": 9000}],
        "upstreams": [{"id": "u", "tag_url": "https://ads.example/vast?key=secret"}],
        "campaigns": [
            campaign(
                advertiser="acme",
                order="o1",
                budgets={"day": {"amount": "0.125", "impressions": 5}, "lifetime": "1000"},
                frequency_caps=[{"impressions": 3, "per": "day"}, {"impressions": 9, "per": "week"}],
                targeting={"countries": ["us"]},
            ),
            campaign("network", advertiser="acme", upstreams=["u"], priority=9, weight=2, categories=["IAB2-3"]),
        ],
        "creatives": [creative(), creative("spring-30s", duration_s=Decimal("29.97"), **EVERYTHING)],
        "placements": [
            {"id": "preroll", "publisher_id": "tv", "campaigns": ["network", "spring"]},
            {"id": "midroll", "publisher_id": "tv", "campaigns": "targeted", "blocked_advertisers": ["acme"]},
        ],
    }
    await apply_document(store, document)
    catalog = await loaded(store)
    exported = [
        *(("publisher", item) for item in catalog.publishers.values()),
        *(("advertiser", item) for item in catalog.advertisers.values()),
        *(("order", item) for item in catalog.orders.values()),
        *(("upstream", item) for item in catalog.upstreams.values()),
        *(("campaign", item) for item in catalog.campaigns.values()),
        *(("creative", item) for creatives in catalog.creatives.values() for item in creatives),
        *(("placement", item) for item in catalog.placements.values()),
    ]
    rows = {(row["kind"], row["id"]): _without_empty(row["new"]) for row in await history(database)}
    assert rows == {(kind, item.id): _comparable(to_entry(item)) for kind, item in exported}


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        inner = {key: _without_empty(item) for key, item in value.items()}
        return {key: item for key, item in inner.items() if item not in ({}, [])}
    return value


def _comparable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _comparable(item) for key, item in value.items()}
    return value.isoformat() if isinstance(value, datetime) else value


async def test_every_amount_in_the_history_is_text(database: str) -> None:
    """JSON's numbers become floats in many programs; a new column with an amount must be turned into text too."""
    async with connected(database) as connection:
        amounts = {row[0] for row in await connection.fetch(SHAPES_WITH_MONEY)}
    assert amounts == {"publishers.revenue_share", "orders.budget", "campaigns.price", "campaigns.unit_price"}


async def test_changed_terms_show_old_and_new(store: Store, database: str, finance_database: str) -> None:
    before = {"budgets": {"day": "100"}, "frequency_caps": [{"impressions": 3, "per": "day"}]}
    await apply_document(store, owned(**before))
    await apply_document(store, owned(budgets={"day": "100", "lifetime": "900.5"}, cpm="2000"))
    await apply_document(store, owned(budgets={"day": {"amount": "80", "impressions": 7}}, cpm="2000"))
    assert await changes(finance_database) == [
        ("campaign", "spring", "budgets.lifetime", None, "900.50"),
        ("campaign", "spring", "cpm", "2500.00", "2000.00"),
        ("campaign", "spring", "frequency_caps", '[{"per": "day", "impressions": 3}]', None),
        ("campaign", "spring", "budgets.day", "100.00", '{"amount": "80.00", "impressions": 7}'),
        ("campaign", "spring", "budgets.lifetime", "900.50", None),
    ]
    assert [row["changed_keys"] for row in await history(database) if row["version"] == 2] == [
        ["budgets", "cpm", "frequency_caps"]
    ]


async def test_a_new_name_changes_the_advertiser_and_none_of_its_campaigns(store: Store, database: str) -> None:
    await apply_document(store, owned())
    await apply_document(store, {"advertisers": [{"id": "Acme", "name": "Acme Holding"}]})
    assert await changes(database) == [("advertiser", "Acme", "name", "Acme", "Acme Holding")]


async def test_upstreams_in_another_order_are_a_change_of_their_campaign(store: Store, database: str) -> None:
    upstreams = [{"id": name, "tag_url": f"https://{name}.example/vast"} for name in ("a", "b")]
    await apply_document(store, {"upstreams": upstreams, "campaigns": [campaign(upstreams=["a", "b"])]})
    await apply_document(store, {"upstreams": upstreams, "campaigns": [campaign(upstreams=["b", "a"])]})
    assert await changes(database) == [("campaign", "spring", "upstreams", '["a", "b"]', '["b", "a"]')]


async def test_finance_does_not_see_the_tag_url_of_an_upstream(store: Store, finance_database: str) -> None:
    for key in ("one", "two"):
        await apply_document(store, {"upstreams": [{"id": "u", "tag_url": f"https://ads.example/vast?key={key}"}]})
    assert await changes(finance_database) == [("upstream", "u", "tag_url", "(not shown)", "(not shown)")]


async def test_a_change_by_sql_is_recorded_with_the_role(store: Store, database: str) -> None:
    await apply_document(store, owned(budgets={"day": "100"}))
    await execute(
        database,
        "UPDATE campaigns SET price = 1",
        "UPDATE configured_budgets SET \"limit\" = 70 WHERE campaign_id = 'spring'",
        "UPDATE campaigns SET price = 2, ends_at = '2041-01-01Z'",
    )
    assert await changes(database) == [
        ("campaign", "spring", "budgets.day", "100.00", "70.00"),
        ("campaign", "spring", "cpm", "2500.00", "2.00"),
        ("campaign", "spring", "ends_at", "2040-01-01T00:00:00+00:00", "2041-01-01T00:00:00+00:00"),
    ]
    last = (await history(database))[-1]
    owner = make_url(database).username
    assert (last["author"], last["role"], last["source"]) == (owner, owner, "direct")


async def test_a_change_by_sql_can_name_its_author(store: Store, database: str) -> None:
    await apply_document(store, owned())
    await execute(database, "SET LOCAL adserver.author = E'Jane\\nDoe'", "UPDATE campaigns SET price = 1")
    assert (await history(database))[-1]["author"] == "Jane?Doe"


async def test_what_changes_and_changes_back_in_one_transaction_is_no_change(store: Store, database: str) -> None:
    await apply_document(store, owned(budgets={"day": "100"}))
    before = await history(database)
    await execute(
        database,
        'CREATE TEMPORARY TABLE kept AS SELECT campaign_id, period, "limit" FROM configured_budgets',
        "DELETE FROM configured_budgets",
        'INSERT INTO configured_budgets (campaign_id, period, "limit") SELECT * FROM kept',
        "UPDATE campaigns SET price = price + 1",
        "UPDATE campaigns SET price = price - 1",
    )
    assert await history(database) == before


async def test_a_time_zone_of_the_session_changes_nothing(store: Store, database: str) -> None:
    await apply_document(store, owned())
    before = await history(database)
    await execute(database, "SET LOCAL timezone = 'Asia/Tokyo'", "UPDATE campaigns SET price = price")
    assert await history(database) == before


async def test_a_limit_that_was_set_beside_its_order_is_recorded(store: Store, database: str) -> None:
    orders = [{"id": "o1", "advertiser": "Acme", "currency": "USD", "budget": "100"}]
    await apply_document(store, {"advertisers": [{"id": "Acme"}], "orders": orders})
    await execute(database, "UPDATE configured_budgets SET \"limit\" = 700 WHERE order_id = 'o1'")
    await execute(database, "DELETE FROM configured_budgets WHERE order_id = 'o1'")
    assert await changes(database) == [
        ("order", "o1", "limit", None, "700.00"),
        ("order", "o1", "limit", "700.00", "none"),
    ]


async def test_deleted_and_truncated_items_are_recorded(store: Store, database: str) -> None:
    await apply_document(store, owned(frequency_caps=[{"impressions": 3, "per": "day"}]))
    await execute(database, "TRUNCATE campaign_caps")
    await execute(database, "DELETE FROM creatives")
    rows = (await history(database))[-2:]
    assert [(row["kind"], row["changed_keys"]) for row in rows] == [
        ("campaign", ["frequency_caps"]),
        ("creative", sorted(rows[1]["old"])),
    ]
    assert rows[1]["new"] is None


@pytest.mark.parametrize("table", ["setup_history", "unrecorded_setup"])
@pytest.mark.parametrize("statement", OWNERS)
@pytest.mark.parametrize("setting", ["SET session_replication_role = replica", "SET adserver.author = 'cfo'"])
async def test_not_even_a_superuser_writes_history(
    store: Store, database: str, table: str, statement: str, setting: str
) -> None:
    await apply_document(store, owned())
    before = await history(database)
    async with connected(database) as superuser:
        await superuser.execute(setting)
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="written by triggers alone"):
            await superuser.execute(statement.format(table))
    assert await history(database) == before


async def test_a_superuser_who_turns_ordinary_triggers_off_is_recorded(store: Store, database: str) -> None:
    await apply_document(store, owned())
    await execute(database, "SET LOCAL session_replication_role = replica", "UPDATE campaigns SET price = 1")
    assert await changes(database) == [("campaign", "spring", "cpm", "2500.00", "1.00")]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO setup_history (kind, id, version, changed_at, revision, new, changed_keys, author, role, source) "
        "VALUES ('campaign', 'spring', 9, now(), 9, '{}', '{}', 'cfo', 'cfo', 'direct')",
        "UPDATE setup_history SET role = 'cfo'",
        "DELETE FROM setup_history",
        "DELETE FROM unrecorded_setup",
        "SELECT setup_item('campaign', 'spring')",
    ],
)
async def test_the_server_cannot_forge_history(store: Store, app_database: str, statement: str) -> None:
    await apply_document(store, owned())
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await execute(app_database, statement)


async def test_finance_reads_changes_and_not_the_table(store: Store, finance_database: str) -> None:
    await apply_document(store, owned())
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await execute(finance_database, "SELECT FROM setup_history")


async def test_of_two_changes_of_one_item_the_later_records_both(store: Store, database: str) -> None:
    await apply_document(store, owned(budgets={"day": "100"}))
    async with connected(database) as first, connected(database) as second, connected(database) as watching:
        begun = first.transaction()
        await begun.start()
        await first.execute("UPDATE campaigns SET price = 1")
        waits = asyncio.create_task(second.execute('UPDATE configured_budgets SET "limit" = 70'))
        while not await is_waiting(watching, second):
            pass
        await begun.commit()
        await waits
    assert await changes(database) == [
        ("campaign", "spring", "cpm", "2500.00", "1.00"),
        ("campaign", "spring", "budgets.day", "100.00", "70.00"),
    ]
    assert (await history(database))[-1]["new"]["cpm"] == "1.00"


async def is_waiting(watching: "Connection[Record]", other: "Connection[Record]") -> bool:
    pid = other.get_server_pid()
    waiting: bool = await watching.fetchval("SELECT pg_blocking_pids($1) <> '{}'", pid)
    return waiting


async def test_terms_are_told_as_they_were(store: Store, database: str, finance_database: str) -> None:
    await set_clock(database, "2026-03-01 12:00:00+00")
    await apply_document(store, owned(budgets={"day": "100"}))
    await set_clock(database, "2026-04-01 12:00:00+00")
    await apply_document(store, {"advertisers": [{"id": "Acme", "name": "Acme Holding"}]})
    await set_clock(database, "2026-05-01 12:00:00+00")
    draft = read_draft("may.toml", owned(cpm="1999.999", budgets={"lifetime": "5"}, status="paused"))
    await apply(store, draft, origin=ChangeOrigin("file may.toml", "Jane Doe"))
    await set_clock(database, "2026-06-01 12:00:00+00")
    tables = ("creatives", "configured_budgets", "budget_tracking", "campaigns")
    await execute(database, *(f"DELETE FROM {table}" for table in tables))
    async with connected(finance_database) as finance:

        async def terms(moment: str) -> list[tuple[Any, ...]]:
            rows = await finance.fetch(TERMS, datetime.fromisoformat(moment))
            keys = ("campaign_id", "advertiser", "status", "cpm", "budgets", "author")
            return [tuple(row[key] for key in keys) for row in rows]

        first = ("spring", "Acme", "active", Decimal("2500.00"), '{"day": "100.00"}', "adserver_app")
        assert await terms("2026-03-01T11:59:59Z") == []
        assert await terms("2026-03-02T00:00:00Z") == [first]
        assert await terms("2026-04-02T00:00:00Z") == [(first[0], "Acme Holding", *first[2:])]
        assert await terms("2026-05-02T00:00:00Z") == [
            ("spring", "Acme Holding", "paused", Decimal("1999.999"), '{"lifetime": "5.00"}', "Jane Doe")
        ]
        assert await terms("2026-06-02T00:00:00Z") == []


async def test_the_command_names_an_author(tmp_path: Path, database: str) -> None:
    file = tmp_path / "spring.toml"
    file.write_text(tomli_w.dumps(owned()))
    applied = adserver("apply", str(file), "--as", "Jane Doe", DATABASE_URL=database)
    assert applied.returncode == 0, applied.stderr
    assert {(row["author"], row["source"]) for row in await history(database)} == {("Jane Doe", f"file {file}")}


@pytest.mark.parametrize("name", ["", " ", "Jane\nDoe", "x" * 129])
def test_a_name_that_cannot_be_shown_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "spring.toml"
    file.write_text(tomli_w.dumps(owned()))
    applied = adserver("apply", str(file), "--as", name)
    assert (applied.returncode, applied.stderr) == (2, "adserver: --as: must have 1 to 128 printable characters\n")


def test_the_demo_is_in_the_history(database: str) -> None:
    assert load_demo(Settings(), database)
    rows = asyncio.run(history(database))
    assert {row["source"] for row in rows} == {"demo content"}
    assert ("campaign", "acme-spring") in names(rows)
