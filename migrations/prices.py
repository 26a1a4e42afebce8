"""Prices of campaigns: columns, constraints, and the check of flat prices. Like columns.py, it is final after 1.0."""

from typing import Any

from sqlalchemy import CheckConstraint, Column, Computed, Constraint, Text

from migrations.columns import Money, allowed_values, required


def price_columns() -> tuple[Column[Any], ...]:
    """Return the price with its model, and the price of one unit, which every ad reads."""
    return (
        required(
            "price_model",
            Text,
            "What the price is for: cpm, a thousand ads; cpc, a click; cpcv, a completed view; flat, the flight",
        ),
        required("price", Money, "Price, as its model says"),
        Column(
            "unit_price",
            Money,
            Computed("CASE price_model WHEN 'cpm' THEN price / 1000 WHEN 'flat' THEN 0 ELSE price END", persisted=True),
            nullable=False,
            comment="Price of one ad, click or completed view; 0 if the flight has a price",
        ),
    )


def price_constraints() -> tuple[Constraint, ...]:
    """Return what a price may be, and the terms that fit it."""
    return (
        allowed_values("campaign_price_model_is_known", "price_model", "cpm cpc cpcv flat"),
        CheckConstraint("price >= 0", name="price_is_not_negative"),
        # So that the price of one ad is exact.
        CheckConstraint("price_model <> 'cpm' OR scale(trim_scale(price)) <= 3", name="cpm_has_three_decimals"),
        CheckConstraint(
            "CASE price_model WHEN 'cpc' THEN billing = 'click' WHEN 'cpcv' THEN billing = 'complete'"
            " WHEN 'flat' THEN billing = 'serve' ELSE billing IN ('serve', 'impression') END",
            name="billing_fits_the_price",
        ),
        CheckConstraint(
            "CASE pacing WHEN 'front' THEN (front_percent BETWEEN 1 AND 100) IS TRUE ELSE front_percent IS NULL END",
            name="front_pacing_has_a_percentage",
        ),
    )


def flat_days(since_moment: str, is_not_archived: str) -> str:
    """Return the part of finance.reconciliation that compares the days of flat prices with their entries."""
    return f"""
SELECT 'flat', coalesce(f.campaign_id, l.campaign_id), NULL, 'day ' || coalesce(f.day, l.day), coalesce(f.amount, 0),
       coalesce(l.amount, 0), 'the entries of the day are not its part of the flat price'
FROM (
    SELECT campaign_id, day, amount FROM public.flat_days
    WHERE booked_at >= {since_moment} AND {is_not_archived}
) AS f
FULL JOIN (
    SELECT campaign_id, coalesce(late_from, booked_on) AS day, sum(amount) AS amount FROM public.spend_ledger
    WHERE kind = 'flat' AND booked_at >= {since_moment} GROUP BY 1, 2
) AS l USING (campaign_id, day)
WHERE coalesce(f.amount, 0) <> coalesce(l.amount, 0)
"""
