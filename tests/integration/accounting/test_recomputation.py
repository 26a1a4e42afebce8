"""Every cell of every view of finance, beside an independent recomputation of three months in Decimal.

A company with four timezones, two currencies, shared and prepaid orders and publishers with shares trades on the real
server. Its books are recomputed from what players were told and sent, and from what people did; not from the database.
Both must be equal to the last digit.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from asyncpg import Connection, Record
from sqlalchemy.engine import make_url

from app.embedded import EmbeddedPostgres
from app.store.roles import APP, FINANCE
from tests.faults.upstream_server import UpstreamServer, answer, inline
from tests.integration.accounting.recomputation import account_views, delivery_views, setup_views, spend_views
from tests.integration.accounting.recomputation.books import MILLIONTH, Books
from tests.integration.accounting.recomputation.company import NOW
from tests.integration.accounting.recomputation.month_ends import month_figures
from tests.integration.accounting.recomputation.players import worker_process
from tests.integration.accounting.recomputation.story import tell
from tests.integration.accounting.recomputation.three_months import Company
from tests.integration.accounting.world import connected, disagreements, open_store
from tests.postgres import cloned_database

SEED = 19
MONTHS = [date(2037, month, 1) for month in (9, 10, 11)]
Row = Mapping[str, Any]

VIEWS: Mapping[str, Callable[[Books], Sequence[Row]]] = {
    "advertiser_spend_monthly": spend_views.advertiser_spend_monthly,
    "book_repairs": account_views.nothing,
    "budgets": account_views.budgets,
    "campaign_spend": spend_views.campaign_spend,
    "campaign_spend_daily": spend_views.campaign_spend_daily,
    "campaigns": account_views.campaigns,
    "closed_months": account_views.closed_months,
    "correction_sets": spend_views.correction_sets,
    "corrections": spend_views.corrections,
    "delivery_hourly": delivery_views.delivery_hourly,
    "delivery_daily": spend_views.delivery_daily,
    "discrepancies": delivery_views.discrepancies,
    "fill_rate_daily": spend_views.fill_rate_daily,
    "impressions": delivery_views.impressions,
    "invoice_details": account_views.invoice_details,
    "invoice_lines": spend_views.invoice_lines,
    "invoices": account_views.invoices,
    "no_fill_daily": spend_views.no_fill_daily,
    "order_credits": account_views.order_credits,
    "orders": account_views.orders,
    "payouts": account_views.payouts,
    "publisher_earnings_daily": spend_views.publisher_earnings_daily,
    "publisher_earnings_monthly": spend_views.publisher_earnings_monthly,
    "publisher_statement": account_views.publisher_statement,
    "reconciliation": account_views.nothing,
    "setup_changes": setup_views.setup_changes,
    "third_party_counts": delivery_views.third_party_counts,
    "unbilled_holds": spend_views.unbilled_holds,
}
"""What each view must have."""

SELECTED = {
    # A period that was opened and never used has no other figures.
    "budgets": "SELECT * FROM finance.budgets WHERE (spent, held, impressions) <> (0, 0, 0)",
    "impressions": (
        "SELECT i.*, l.kind AS entry_kind FROM finance.impressions i "
        "LEFT JOIN finance.invoice_lines l USING (serve_id, slot, entry_id)"
    ),
    "setup_changes": "SELECT *, date_trunc('minute', changed_at) AS changed_at FROM finance.setup_changes",
}
FUNCTIONS = {"balance_as_of", "compute_delivery", "impression", "month_end", "terms_as_of"}
"""The functions that are compared below; delivery_hourly shows what compute_delivery returns."""

FUNCTIONS_OF_FINANCE = "SELECT proname FROM pg_proc WHERE pronamespace = 'finance'::regnamespace"
VIEWS_OF_FINANCE = "SELECT relname FROM pg_class WHERE relnamespace = 'finance'::regnamespace AND relkind IN ('v', 'm')"


@dataclass(frozen=True)
class ThreeMonths:
    """A company's database after three months, and its recomputed books."""

    url: str
    books: Books
    company: Company
    finance: "Connection[Record]"


@pytest.fixture(scope="module")
async def three_months(postgres: EmbeddedPostgres, migrated_template: str) -> AsyncIterator[ThreeMonths]:
    async with cloned_database(postgres, migrated_template) as url, UpstreamServer(answer(inline())) as network:
        database = make_url(url)
        app_url = postgres.url(database.database or "", APP)
        store = open_store(app_url)
        try:
            async with (
                connected(url) as owner,
                connected(postgres.url(database.database or "", FINANCE)) as finance,
            ):
                books = Books(database.username or "")
                company = Company(books, store, owner, app_url, SEED)
                with worker_process():
                    await tell(company, network.url)
                yield ThreeMonths(url, books, company, finance)
        finally:
            await store.close()


async def test_every_view_and_function_is_recomputed(finance_database: str) -> None:
    async with connected(finance_database) as connection:
        views = {row["relname"] for row in await connection.fetch(VIEWS_OF_FINANCE)}
        functions = {row["proname"] for row in await connection.fetch(FUNCTIONS_OF_FINANCE)}
    assert views == VIEWS.keys()
    assert functions == FUNCTIONS


@pytest.mark.parametrize("view", VIEWS)
async def test_every_cell_is_equal(three_months: ThreeMonths, view: str) -> None:
    await assert_view_is_equal(three_months, view)


@pytest.mark.parametrize("view", VIEWS)
async def test_every_cell_is_equal_after_the_rollup(three_months: ThreeMonths, view: str) -> None:
    await three_months.company.maintain("days rolled up", "hours rolled up")
    await assert_view_is_equal(three_months, view)


@pytest.mark.parametrize("month", [*MONTHS, date(2037, 12, 1)])
async def test_every_cell_of_a_months_end_is_equal(three_months: ThreeMonths, month: date) -> None:
    books = three_months.books
    kept = {closed.month: closed.figures for closed in books.closed}
    expected = [{**row, "closed": month in kept} for row in kept.get(month) or month_figures(books, month)]
    assert_equal(expected, await three_months.finance.fetch("SELECT * FROM finance.month_end($1)", month))


@pytest.mark.parametrize("days", [0, 1, 7, 22, 29, 47, 60])
async def test_every_cell_at_a_moment_is_equal(three_months: ThreeMonths, days: int) -> None:
    moment = NOW - timedelta(days=days)
    balances = await three_months.finance.fetch("SELECT * FROM finance.balance_as_of($1)", moment)
    assert_equal(spend_views.balance_as_of(three_months.books, moment), balances)
    terms = await three_months.finance.fetch(
        "SELECT *, date_trunc('minute', since) AS since FROM finance.terms_as_of($1)", moment
    )
    assert_equal(setup_views.terms_as_of(three_months.books, moment), terms)


@pytest.mark.parametrize("slots", [1, 3])
async def test_every_cell_of_an_impression_is_equal(three_months: ThreeMonths, slots: int) -> None:
    by_serve = spend_views.grouped(delivery_views.impressions(three_months.books), lambda row: row["serve_id"])
    pods = [rows for rows in by_serve.values() if len(rows) == slots]
    for expected in pods[:5]:
        query = SELECTED["impressions"].replace("finance.impressions", "finance.impression($1)")
        assert_equal(expected, await three_months.finance.fetch(query, expected[0]["serve_id"]))
    assert pods


async def test_the_books_agree(three_months: ThreeMonths) -> None:
    assert await disagreements(three_months.url) == []


def test_the_story_has_every_case(three_months: ThreeMonths) -> None:
    """The comparison includes late money, ties of rounding, credit notes, accruals and every kind of row."""
    books = three_months.books
    late = [entry for entry in books.entries if entry.late_from]
    assert any(entry.late_from < entry.month <= max(MONTHS) for entry in late if entry.late_from)
    assert {ad.is_failed for ad in books.ads if ad.released_at} == {True, False}
    assert {ad.parties.slot for ad in books.ads} == {0, 1, 2}
    assert {outcome for _, outcome in books.requests} >= {"served", "budget", "frequency_cap"}
    assert {(made["kind"], made["corrects"] is None) for made in books.invoices} == {
        ("invoice", True),
        ("credit_note", False),
    }
    shares = {ad.price / 2 for ad in books.ads if abs(ad.price / 2 - ad.publisher_amount) * 2 == MILLIONTH}
    assert {share % (2 * MILLIONTH) for share in shares} == {MILLIONTH / 2, MILLIONTH * 3 / 2}
    assert all(sum(row["held"] for row in closed.figures) > 0 for closed in books.closed)
    assert all(row["reversed"] and row["skipped"] for row in spend_views.correction_sets(books))
    assert {view for view in VIEWS if not VIEWS[view](books)} == {"book_repairs", "reconciliation"}


async def assert_view_is_equal(three_months: ThreeMonths, view: str) -> None:
    rows = await three_months.finance.fetch(SELECTED.get(view, f"SELECT * FROM finance.{view}"))
    assert_equal(VIEWS[view](three_months.books), rows)


def assert_equal(expected: Sequence[Row], actual: Sequence[Record]) -> None:
    """Compare rows in any order, and amounts as numbers. Columns that are not expected are the database's own ids."""
    columns = sorted({column for row in expected for column in row})
    wanted = sorted(tuple(comparable(row[column]) for column in columns) for row in expected)
    found = sorted(tuple(comparable(row[column]) for column in columns) for row in actual)
    missing, unexpected = [row for row in wanted if row not in found], [row for row in found if row not in wanted]
    assert wanted == found, "\n".join(
        [f"{len(wanted)} expected, {len(found)} found", str(columns)]
        + [f"missing    {row}" for row in missing[:8]]
        + [f"unexpected {row}" for row in unexpected[:8]]
    )


def comparable(value: Any) -> str:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, datetime):
        return str(value.timestamp())
    if isinstance(value, str) and value[:1] in ("{", "["):
        value = json.loads(value)
    if isinstance(value, list | dict):
        return json.dumps(value, sort_keys=True)
    return str(value)
