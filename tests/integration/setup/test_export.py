"""An export equals the catalog: applied again, it changes nothing; applied elsewhere, it creates the same catalog."""

import tomllib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.campaign_file.apply import apply
from app.campaign_file.exporter import format_amount, to_toml
from app.campaign_file.fields import CURRENCIES, TIMEZONES
from app.campaign_file.parser import Draft, read_draft
from app.domain import (
    BUDGET_IMPRESSIONS_MAX,
    BudgetPeriod,
    CapWindow,
    Catalog,
    Competitors,
    CreativeStatus,
    PodPosition,
)
from app.store import catalog_reader
from app.store.connections import Store
from tests.integration.serves import open_store
from tests.integration.setup.files import Document, apply_document, creative
from tests.unit.campaign_file.examples import document
from tests.unit.campaign_file.test_creative_elements import EVERYTHING

REFUSED = "\ufffe\uffff\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that a campaign file may not have: no characters at all, and those that change the direction of text."""

words = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters=REFUSED), min_size=1, max_size=20)
ids = words.map(str.strip).filter(lambda text: text and "/" not in text)
cpms = st.decimals(0, 99_999, places=3)
amounts = st.decimals(0, 999_999_999, places=6)
impressions = st.integers(0, BUDGET_IMPRESSIONS_MAX)
budgets = st.one_of(
    amounts.map(str),
    st.fixed_dictionaries({"impressions": impressions}, optional={"amount": amounts.map(str)}),
)
moments = st.datetimes(datetime(1970, 1, 2), datetime(2999, 1, 1), timezones=st.just(UTC))
urls = words.map(lambda text: f"https://ads.example/{text.replace(' ', '')}")
categories = st.lists(st.sampled_from(["IAB1", "IAB2-3", "483"]), unique=True)
Draw = Callable[[st.SearchStrategy[Any]], Any]


def some(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A key that may be left out: None takes it away below."""
    return st.none() | strategy


lives = st.fixed_dictionaries(
    {},
    optional={
        "duration_s": st.decimals(8, 21_600, places=3),
        **{key: st.just(value) for key, value in EVERYTHING.items()},
        "description": words,
        "status": st.sampled_from(CreativeStatus),
        "starts_at": moments,
        "weight": st.integers(1, 1000),
        "sequence": st.integers(1, 1000),
        "position": st.sampled_from(PodPosition),
    },
)
"""Keys of a creative that may be left out."""


@st.composite
def campaigns(draw: Draw, campaign_id: str, upstream_ids: list[str]) -> Document:
    starts_at = draw(moments)
    windows = draw(st.lists(st.sampled_from(CapWindow), unique=True, max_size=4))
    levels = ["campaign", "advertiser"] if upstream_ids else ["campaign", "creative", "advertiser"]
    lengths = draw(st.lists(st.sampled_from(["1 minute", "90 minutes", "3 days"]), unique=True, max_size=1))
    return {
        "id": campaign_id,
        "advertiser": draw(words),
        "status": draw(st.sampled_from(["paused", "ended"] if not upstream_ids else ["active", "paused", "ended"])),
        "currency": draw(st.sampled_from(sorted(CURRENCIES))),
        "timezone": draw(st.sampled_from(sorted(TIMEZONES))),
        "starts_at": starts_at,
        "ends_at": starts_at + draw(st.timedeltas(timedelta(microseconds=1), timedelta(days=300))),
        "cpm": str(draw(cpms)),
        "billing": draw(some(st.sampled_from(["serve", "impression"]))),
        "pacing": draw(some(st.sampled_from(["asap", "even"]))),
        "budgets": {str(period): draw(budgets) for period in draw(st.sets(st.sampled_from(BudgetPeriod)))},
        "priority": draw(some(st.integers(1, 10))),
        "weight": draw(some(st.integers(1, 1000))),
        "categories": draw(categories),
        "frequency_caps": [
            *({"impressions": draw(st.integers(1, 1000)), "per": str(window)} for window in windows),
            *({"impressions": 9, "every": length, "level": draw(st.sampled_from(levels))} for length in lengths),
        ],
        "upstreams": upstream_ids,
        "without_user": draw(some(st.sampled_from(["skip", "serve"]))),
        "hold_ttl_s": draw(some(st.integers(1, 604_800))),
        "ads_per_pod": 1 if upstream_ids else draw(st.integers(1, 20)),
        "targeting": {"countries": draw(st.lists(st.sampled_from(["de", "US", "fra"]), unique=True))},
    }


@st.composite
def documents(draw: Draw) -> Document:
    """A file with everything in it."""
    upstream_ids, campaign_ids, placement_ids = (draw(st.lists(ids, unique=True, max_size=3)) for _ in range(3))
    chains = {
        item_id: draw(st.lists(st.sampled_from(upstream_ids), unique=True)) if upstream_ids else []
        for item_id in campaign_ids
    }
    owners = [item_id for item_id in campaign_ids if not chains[item_id]]
    built: Document = {
        "publishers": [{"id": draw(ids), "requests_per_s": draw(some(st.integers(1, 9)))}],
        "upstreams": [
            {
                "id": item_id,
                "tag_url": draw(urls),
                "max_qps": draw(some(st.integers(1, 99))),
                "hedge": draw(some(st.booleans())),
            }
            for item_id in upstream_ids
        ],
        "campaigns": [draw(campaigns(item_id, chains[item_id])) for item_id in campaign_ids],
        "creatives": [
            creative(item_id, draw(st.sampled_from(owners)), title=draw(words), **draw(lives))
            for item_id in (draw(st.lists(ids, unique=True, max_size=3)) if owners else [])
        ],
        "placements": [
            {
                "id": item_id,
                "publisher_id": draw(ids),
                "campaigns": draw(st.just("targeted") | st.permutations(campaign_ids)),
                "blocked_categories": draw(categories),
                "ad_breaks": [
                    {
                        "id": draw(ids),
                        "time_offset": "25%",
                        "pod_duration_s": draw(some(st.integers(1, 60))),
                        "min_ads": 1,
                        "competitors": draw(st.sampled_from(Competitors)),
                        "repeat_every": "00:10:00",
                    }
                ],
            }
            for item_id in (placement_ids if campaign_ids else [])
        ],
    }
    return {kind: [_without_none(entry) for entry in entries] for kind, entries in built.items()}


def _without_none(entry: Document) -> Document:
    return {key: value for key, value in entry.items() if value is not None}


@pytest.fixture
async def owner_store(database: str) -> AsyncIterator[Store]:
    """With the right to empty tables, which the server has not."""
    opened = open_store(database)
    yield opened
    await opened.close()


async def exported(store: Store) -> tuple[Catalog, Draft]:
    async with store.connection() as connection:
        loaded = await catalog_reader.load(connection)
    return loaded, read_draft("export", tomllib.loads(to_toml(loaded), parse_float=Decimal))


async def test_an_export_that_is_applied_again_changes_nothing(store: Store) -> None:
    await apply_document(store, document())
    before, export = await exported(store)
    applied = await apply(store, export)
    assert (applied.created, applied.updated, applied.revision) == ((), (), before.revision)
    assert len(applied.unchanged) == 8


async def emptied(store: Store) -> None:
    async with store.transaction() as connection:
        await connection.execute(
            "TRUNCATE budget_tracking, configured_budgets, campaign_caps, campaign_upstreams, creatives, "
            "placement_campaigns, placements"
        )
        # What was paid refers to these, and is never removed.
        for table in ("campaigns", "orders", "advertisers", "upstreams", "publishers"):
            await connection.execute(f"DELETE FROM {table}")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=documents())
async def test_whatever_is_set_up_comes_back_from_its_export(owner_store: Store, wanted: Document) -> None:
    await emptied(owner_store)
    await apply_document(owner_store, wanted)
    before, export = await exported(owner_store)
    assert not export.faults
    again = await apply(owner_store, export)
    assert (again.created, again.updated, again.revision) == ((), (), before.revision)
    await emptied(owner_store)
    await apply(owner_store, export)
    after, _ = await exported(owner_store)
    for kind in ("publishers", "advertisers", "orders", "upstreams", "campaigns", "creatives", "placements"):
        assert getattr(after, kind) == getattr(before, kind)


def test_money_is_written_exactly_and_with_two_decimals_at_least() -> None:
    assert [format_amount(Decimal(text)) for text in ("2500", "2500.000", "0.125000", "0", "1E+3", "0.000001")] == [
        "2500.00",
        "2500.00",
        "0.125",
        "0.00",
        "1000.00",
        "0.000001",
    ]
