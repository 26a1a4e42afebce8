"""Prices, what they are billed by, and the budgets that they fit."""

from decimal import Decimal
from typing import Any

import pytest

from app.campaign_file.exporter import to_entry
from app.campaign_file.parser import read_draft
from app.domain import Billing, Budget, BudgetPeriod, Campaign, Price, PriceModel
from tests.unit.campaign_file.examples import document, faults_of

CLICKS = {"price": {"cpc": "0.50"}, "billing": ...}
VIEWS = {"price": {"cpcv": "0.02"}, "billing": ...}
FLAT = {"price": {"flat": "100"}, "billing": ...}


def sold(**keys: object) -> dict[str, Any]:
    """A file with one campaign, which has these keys instead of a CPM; `...` takes a key away."""
    first = document()["campaigns"][0]
    merged = {key: value for key, value in {**first, "cpm": ..., **keys}.items() if value is not ...}
    return {**document(), "campaigns": [merged, *document()["campaigns"][1:]]}


def campaign(**keys: object) -> Campaign:
    draft = read_draft("test.toml", sold(**keys))
    assert not draft.faults
    return next(item for item in draft.items if isinstance(item, Campaign))


@pytest.mark.parametrize(
    ("keys", "price", "billing"),
    [
        ({"cpm": "10"}, Price(PriceModel.CPM, Decimal(10)), Billing.SERVE),
        ({"price": {"cpm": "10.001"}}, Price(PriceModel.CPM, Decimal("10.001")), Billing.SERVE),
        ({"cpm": "10", "billing": "impression"}, Price(PriceModel.CPM, Decimal(10)), Billing.IMPRESSION),
        ({"price": {"cpc": "0.000001"}}, Price(PriceModel.CPC, Decimal("0.000001")), Billing.CLICK),
        ({"price": {"cpc": "0.5"}, "billing": "click"}, Price(PriceModel.CPC, Decimal("0.5")), Billing.CLICK),
        ({"price": {"flat": "1000"}}, Price(PriceModel.FLAT, Decimal(1000)), Billing.SERVE),
        ({"price": {"cpcv": "0.02"}}, Price(PriceModel.CPCV, Decimal("0.02")), Billing.COMPLETE),
    ],
)
def test_the_price_decides_which_event_charges(keys: dict[str, object], price: Price, billing: Billing) -> None:
    found = campaign(**{"billing": ..., "budgets": ..., **keys})
    assert (found.price, found.billing) == (price, billing)


@pytest.mark.parametrize(
    ("keys", "key", "reason"),
    [
        ({}, "price", "is required, or cpm"),
        ({"cpm": "1", "price": {"cpc": "1"}}, "price", "must not be set beside cpm"),
        ({"price": {}}, "price", "must have one of cpm, cpc, cpcv and flat"),
        ({"price": {"cpm": "1", "cpc": "1"}}, "price", "must have one of cpm, cpc, cpcv and flat"),
        ({"price": "1"}, "price", "must be a table"),
        ({"price": {"cpa": "1"}}, "price.cpa", "unknown key"),
        ({"price": {"cpm": "1.0001"}}, "price.cpm", "must have at most three decimals"),
        ({"price": {"cpc": "0.0000001"}}, "price.cpc", "must have at most six decimals"),
        ({"price": {"cpc": "-1"}}, "price.cpc", "must not be negative"),
        ({**CLICKS, "billing": "serve"}, "billing", "must be 'click' for a price by cpc, got 'serve'"),
        ({**CLICKS, "billing": "impression"}, "billing", "must be 'click' for a price by cpc, got 'impression'"),
        ({**VIEWS, "billing": "click"}, "billing", "must be 'complete' for a price by cpcv, got 'click'"),
        (
            {"cpm": "1", "billing": "complete"},
            "billing",
            "must be 'serve' or 'impression' for a price by cpm, got 'complete'",
        ),
        (
            {"cpm": "1", "budgets": {"day": {"clicks": 5}}},
            "budgets",
            "day.clicks must be day.impressions, which a price by cpm is for",
        ),
        (
            {**CLICKS, "budgets": {"hour": {"impressions": 5}}},
            "budgets",
            "hour.impressions must be hour.clicks, which a price by cpc is for",
        ),
        (
            {**VIEWS, "budgets": {"lifetime": {"clicks": 5}}},
            "budgets",
            "lifetime.clicks must be lifetime.completions, which a price by cpcv is for",
        ),
        (
            {**CLICKS, "budgets": {"day": {"clicks": 5, "completions": 5}}},
            "budgets.day",
            "must not have both clicks and completions",
        ),
        ({"price": {"flat": "0"}}, "price.flat", "must be more than 0"),
        ({**FLAT, "billing": "impression"}, "billing", "must be 'serve' for a price by flat, got 'impression'"),
        (
            {**FLAT, "budgets": {"lifetime": "99.99"}},
            "budgets",
            "lifetime must not be less than the flat price of 100",
        ),
        (
            {**FLAT, "budgets": {"day": "100"}},
            "budgets",
            "day must not limit money, because a flat price is booked by day",
        ),
        (
            {**FLAT, "pacing": "even", "budgets": {"lifetime": "100"}},
            "budgets",
            "lifetime must not limit money with pacing 'even', which a flat price has not",
        ),
        (
            {**FLAT, "budgets": {"lifetime": {"clicks": 5}}},
            "budgets",
            "lifetime.clicks must be lifetime.impressions, which a price by flat is for",
        ),
        ({"cpm": "1", "pacing": "front"}, "front_percent", "is required for pacing 'front'"),
        ({"cpm": "1", "pacing": "even", "front_percent": 20}, "front_percent", "requires pacing 'front'"),
        ({"cpm": "1", "pacing": "front", "front_percent": 0}, "front_percent", "must be at least 1"),
        ({"cpm": "1", "pacing": "front", "front_percent": 101}, "front_percent", "must be at most 100"),
    ],
)
def test_a_wrong_price_is_told_in_one_line(keys: dict[str, object], key: str, reason: str) -> None:
    faults = faults_of(sold(**{"billing": ..., "budgets": ..., **keys}))
    assert [(fault.key, fault.reason) for fault in faults] == [(f"campaigns[0].{key}", reason)]


def test_a_faulty_price_has_no_other_faults() -> None:
    faults = faults_of(sold(price={"cpc": "x"}, billing="serve", budgets={"day": {"impressions": 5}}))
    assert [fault.key for fault in faults] == ["campaigns[0].price.cpc"]


@pytest.mark.parametrize(("keys", "unit"), [({"cpm": "1"}, "impressions"), (CLICKS, "clicks"), (VIEWS, "completions")])
def test_a_budget_counts_what_is_sold_and_is_exported_so(keys: dict[str, object], unit: str) -> None:
    found = campaign(**keys, budgets={"day": {"amount": "5", unit: 7}, "hour": {unit: 0}})
    assert found.budgets == {
        BudgetPeriod.DAY: Budget(Decimal(5), 7),
        BudgetPeriod.HOUR: Budget(None, 0),
    }
    entry = to_entry(found)
    assert entry["budgets"] == {"day": {"amount": "5.00", unit: 7}, "hour": {unit: 0}}
    assert read_draft("test.toml", {"campaigns": [entry]}).items == (found,)


def test_a_price_is_exported_under_the_key_of_its_model() -> None:
    of_today = to_entry(campaign(price={"cpm": "10"}))
    assert (of_today["cpm"], "price" in of_today) == ("10.00", False)
    by_click = to_entry(campaign(**CLICKS, pacing="front", front_percent=20, budgets={}))
    assert (by_click["price"], by_click["billing"], "cpm" in by_click) == ({"cpc": "0.50"}, "click", False)
    assert (by_click["pacing"], by_click["front_percent"]) == ("front", 20)
