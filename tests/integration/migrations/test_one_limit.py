"""The schema allows the same as the domain: the words of each enum, and the largest amount."""

import re
from decimal import Decimal

import asyncpg
import pytest

from app.domain import (
    AMOUNT_MAX,
    BUDGET_IMPRESSIONS_MAX,
    Billing,
    BudgetPeriod,
    CampaignStatus,
    CapLevel,
    CapWindow,
    LateImpressions,
    Pacing,
    PriceModel,
    WithoutUser,
)
from tests.players import connected

WORDS = {
    "campaign_status_is_known": CampaignStatus,
    "campaign_price_model_is_known": PriceModel,
    "campaign_billing_is_known": Billing,
    "campaign_pacing_is_known": Pacing,
    "campaign_without_user_is_known": WithoutUser,
    "campaign_late_impressions_is_known": LateImpressions,
    "budget_period_is_known": BudgetPeriod,
    "cap_level_is_known": CapLevel,
    "cap_window_is_known": CapWindow,
}
CONSTRAINTS = """
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE contype = 'c' AND connamespace = 'public'::regnamespace AND conname ~ '^(campaign|budget|cap)_.*_is_known$'
"""
BUDGET = (
    "INSERT INTO configured_budgets (campaign_id, period, \"limit\", impressions_limit) VALUES ('c', 'day', $1, $2)"
)
CAMPAIGN = """
WITH acme AS (INSERT INTO advertisers (id, name) VALUES ('Acme', 'Acme') ON CONFLICT DO NOTHING)
INSERT INTO campaigns (id, advertiser_id, advertiser, status, currency, timezone, starts_at, ends_at, price_model,
                       price, billing, pacing, without_user, late_impressions, hold_ttl_s)
VALUES ('c', 'Acme', 'Acme', 'paused', 'USD', 'UTC', now(), now() + interval '1 day', 'cpm', $1, 'serve', 'asap',
        'skip', 'ignore', 1)
"""


async def test_the_schema_knows_the_words_of_the_domain(database: str) -> None:
    async with connected(database) as connection:
        rules = dict(await connection.fetch(CONSTRAINTS))
    assert rules.keys() == WORDS.keys()
    assert {name: _words(rule) for name, rule in rules.items()} == {
        name: {str(word) for word in words} for name, words in WORDS.items()
    }


def _words(rule: str) -> set[str]:
    return set(re.findall(r"'(\w+)'", rule))


@pytest.mark.parametrize(
    ("statement", "largest", "step"),
    [(CAMPAIGN, AMOUNT_MAX, Decimal("0.001")), (BUDGET, AMOUNT_MAX, Decimal("0.000001"))],
    ids=["cpm", "amount"],
)
async def test_a_column_of_money_has_room_for_what_is_less_than_the_largest_amount(
    database: str, statement: str, largest: Decimal, step: Decimal
) -> None:
    rest = [BUDGET_IMPRESSIONS_MAX] if statement is BUDGET else []
    async with connected(database) as connection:
        if statement is BUDGET:
            await connection.execute(CAMPAIGN, Decimal(1))
        with pytest.raises(asyncpg.NumericValueOutOfRangeError):
            await connection.execute(statement, largest, *rest)
        await connection.execute(statement, largest - step, *rest)
