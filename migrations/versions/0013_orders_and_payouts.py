"""Payouts to publishers, the views of orders, campaigns and what publishers are owed, and the terms of a past moment.

Revision ID: 0013
Revises: 0012
"""

from alembic import op
from sqlalchemy import CheckConstraint, PrimaryKeyConstraint, String, Text

from migrations.columns import Identifier, Money, Timestamp, reference, required

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# Everything booked: the daily sums, and the entries that they do not include yet.
DAILY = """
SELECT booked_on, recorded_on, order_id, campaign_id, publisher_id, publisher_name, currency, kind, amount,
       publisher_amount, ads
FROM public.spend_daily
UNION ALL
SELECT booked_on, (booked_at AT TIME ZONE 'UTC')::date, order_id, campaign_id, publisher_id, publisher_name, currency,
       kind, amount, publisher_amount, num_nonnulls(request_key)
FROM public.spend_ledger
WHERE booked_at >= (SELECT rolled_up_to FROM public.books_state)
"""


def booked_by(owner: str) -> str:
    """Return a query of the sums of everything booked, one row for each owner."""
    return f"""
    SELECT {owner},
           coalesce(sum(amount) FILTER (WHERE kind IN ('charge', 'settle', 'flat')), 0) AS delivered,
           coalesce(sum(amount) FILTER (WHERE kind IN ('adjustment', 'reversal')), 0) AS corrected,
           sum(amount) AS booked,
           coalesce(sum(ads) FILTER (WHERE kind IN ('charge', 'settle')), 0)::bigint AS impressions,
           coalesce(sum(ads) FILTER (WHERE kind = 'reversal'), 0)::bigint AS reversed
    FROM ({DAILY}) AS daily WHERE {owner} IS NOT NULL GROUP BY {owner}"""


def held_by(owner: str) -> str:
    """Return a query of the open holds, one row for each owner."""
    return f"SELECT {owner}, sum(price) AS held, count(*) AS open_holds FROM public.holds GROUP BY {owner}"


# `d` is a row of booked_by, `h` one of held_by, and `l` has the limits of the owner's lifetime. As in finance.budgets,
# nothing remains of a budget that was lowered below what is used.
DELIVERY = """
       coalesce(d.delivered, 0) AS delivered, coalesce(d.corrected, 0) AS corrected, u.booked, u.held,
       public.budget_limit(l."limit", u.booked + u.held) - u.booked - u.held AS remaining,
       u.impressions, coalesce(d.reversed, 0) AS reversed, u.impressions - coalesce(d.reversed, 0) AS billable,
       u.open_holds,
       (public.budget_limit(l.impressions_limit, u.impressions + u.open_holds) - u.impressions - u.open_holds)::bigint
           AS impressions_remaining
"""

USED = """
CROSS JOIN LATERAL (
    SELECT coalesce(d.booked, 0) AS booked, coalesce(h.held, 0) AS held, coalesce(d.impressions, 0) AS impressions,
           coalesce(h.open_holds, 0) AS open_holds
) AS u
"""

ORDERS = f"""
SELECT o.id AS order_id, o.advertiser_id, a.name AS advertiser, o.purchase_order, o.currency, o.starts_at, o.ends_at,
       o.prepaid, o.budget, k.credited, o.impressions AS impressions_limit,{DELIVERY}
FROM public.orders o JOIN public.advertisers a ON a.id = o.advertiser_id
CROSS JOIN LATERAL (
    SELECT coalesce(sum(amount), 0) AS credited FROM public.order_credits WHERE order_id = o.id
) AS k
CROSS JOIN LATERAL (
    SELECT CASE WHEN o.prepaid THEN least(o.budget, k.credited) ELSE o.budget END AS "limit",
           o.impressions AS impressions_limit
) AS l
LEFT JOIN ({booked_by("order_id")}) AS d ON d.order_id = o.id
LEFT JOIN ({held_by("order_id")}) AS h ON h.order_id = o.id
{USED}
"""

CAMPAIGNS = f"""
SELECT c.id AS campaign_id, c.order_id, c.advertiser_id, a.name AS advertiser, c.status, c.currency, c.timezone,
       c.starts_at, c.ends_at, (CASE c.price_model WHEN 'cpm' THEN c.price END)::numeric(15,3) AS cpm, c.price_model,
       c.price, c.billing, c.pacing, c.front_percent,
       b.hour_budget, b.day_budget, l."limit" AS lifetime_budget,
       b.hour_impressions, b.day_impressions, l.impressions_limit AS lifetime_impressions,{DELIVERY}
FROM public.campaigns c JOIN public.advertisers a ON a.id = c.advertiser_id
CROSS JOIN LATERAL (
    SELECT max("limit") FILTER (WHERE period = 'hour') AS hour_budget,
           max("limit") FILTER (WHERE period = 'day') AS day_budget,
           max(impressions_limit) FILTER (WHERE period = 'hour') AS hour_impressions,
           max(impressions_limit) FILTER (WHERE period = 'day') AS day_impressions
    FROM public.configured_budgets WHERE budget_id = c.id
) AS b
LEFT JOIN public.configured_budgets l ON l.budget_id = c.id AND l.period = 'lifetime'
LEFT JOIN ({booked_by("campaign_id")}) AS d ON d.campaign_id = c.id
LEFT JOIN ({held_by("campaign_id")}) AS h ON h.campaign_id = c.id
{USED}
"""

ORDER_CREDITS = """
SELECT k.order_id, a.name AS advertiser, k.amount, o.currency, k.reason, k.recorded_at, k.recorded_by, k.idempotency_key
FROM public.order_credits k JOIN public.orders o ON o.id = k.order_id JOIN public.advertisers a ON a.id = o.advertiser_id
"""

PAYOUTS = """
SELECT publisher_id, publisher_name AS publisher, amount, currency, recorded_at, recorded_by, idempotency_key
FROM public.payouts
"""

# A payout is recorded when it is made, so it belongs to the UTC day of that. A publisher that was renamed has the name of
# the day of its last entry or payout in the month; of two names on that day, the alphabetically first.
PUBLISHER_STATEMENT = f"""
WITH movement AS (
    SELECT publisher_id, publisher_name, currency, booked_on, recorded_on,
           CASE WHEN kind IN ('charge', 'settle', 'flat') THEN publisher_amount ELSE 0 END AS delivered,
           CASE WHEN kind IN ('charge', 'settle', 'flat') THEN 0 ELSE publisher_amount END AS corrected, 0 AS paid
    FROM ({DAILY}) AS daily WHERE publisher_id IS NOT NULL
    UNION ALL
    SELECT p.publisher_id, p.publisher_name, p.currency, d.recorded_on, d.recorded_on, 0, 0, p.amount
    FROM public.payouts p CROSS JOIN LATERAL (SELECT (p.recorded_at AT TIME ZONE 'UTC')::date AS recorded_on) AS d
), monthly AS (
    SELECT publisher_id,
           (array_agg(publisher_name ORDER BY booked_on DESC, recorded_on DESC, publisher_name))[1] AS publisher,
           currency, date_trunc('month', booked_on)::date AS month, sum(delivered) AS delivered,
           sum(corrected) AS corrected, sum(delivered + corrected) AS earned, sum(paid) AS paid
    FROM movement GROUP BY publisher_id, currency, 4
)
SELECT publisher_id, publisher, currency, month,
       sum(earned - paid) OVER until_month - (earned - paid) AS opening_balance,
       delivered, corrected, earned, paid, sum(earned - paid) OVER until_month AS closing_balance
FROM monthly
WINDOW until_month AS (PARTITION BY publisher_id, currency ORDER BY month)
"""

TERMS_AS_OF = """
CREATE FUNCTION finance.terms_as_of(moment timestamptz)
RETURNS TABLE (
    campaign_id text, advertiser_id text, advertiser text, order_id text, status text, starts_at timestamptz,
    ends_at timestamptz, timezone text, currency text, cpm numeric, price_model text, price numeric, billing text,
    pacing text, budgets jsonb, since timestamptz, author text
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
    SELECT c.id, c.new ->> 'advertiser', a.new ->> 'name', c.new ->> 'order', c.new ->> 'status',
           (c.new ->> 'starts_at')::timestamptz, (c.new ->> 'ends_at')::timestamptz, c.new ->> 'timezone',
           c.new ->> 'currency', (c.new ->> 'cpm')::numeric, p.model, p.amount, c.new ->> 'billing', c.new ->> 'pacing',
           coalesce(c.new -> 'budgets', '{}'), c.changed_at, c.author
    FROM (
        SELECT DISTINCT ON (h.id) h.id, h.new, h.changed_at, h.author FROM setup_history h
        WHERE h.kind = 'campaign' AND h.changed_at <= moment ORDER BY h.id, h.version DESC
    ) AS c
    CROSS JOIN LATERAL (
        SELECT key AS model, value::numeric AS amount
        FROM jsonb_each_text(coalesce(c.new -> 'price', jsonb_build_object('cpm', c.new -> 'cpm')))
    ) AS p
    LEFT JOIN LATERAL (
        SELECT h.new FROM setup_history h
        WHERE h.kind = 'advertiser' AND h.id = c.new ->> 'advertiser' AND h.changed_at <= moment
        ORDER BY h.version DESC LIMIT 1
    ) AS a ON true
    WHERE c.new IS NOT NULL ORDER BY c.id;
END
"""

TERMS_AS_OF_COMMENT = """
COMMENT ON FUNCTION finance.terms_as_of(timestamptz) IS
'The terms of every campaign as they were at a past moment; since and author are those of the last change before it'
"""

DELIVERY_COLUMNS = {
    "delivered": "Charged for ads",
    "corrected": "Adjustments and reversals",
    "booked": "delivered + corrected: the amount to be paid",
    "held": "Held for ads that were served and not yet billed",
}
IMPRESSION_COLUMNS = {
    "impressions": "Number of ads charged",
    "reversed": "Number of ads whose charge was taken back",
    "billable": "impressions - reversed",
    "open_holds": "Number of ads that were served and not yet billed",
    "impressions_remaining": "Number of ads that may still be served; NULL for no limit",
}

VIEWS = {
    "orders": (
        ORDERS,
        "Every order: what was bought, booked and remains",
        {
            "order_id": "Order",
            "advertiser_id": "Advertiser, who pays",
            "advertiser": "Name of the advertiser",
            "purchase_order": "The advertiser''s purchase order number",
            "currency": "Currency of every amount",
            "starts_at": "Earliest start of its campaigns; NULL for any",
            "ends_at": "Latest end of its campaigns, exclusive; NULL for any",
            "prepaid": "Whether only credited money may be spent",
            "budget": "Amount that its campaigns may spend together; NULL for no limit",
            "credited": "Sum of its credits",
            "impressions_limit": "Number of ads that its campaigns may serve together; NULL for no limit",
        }
        | DELIVERY_COLUMNS
        | {
            "remaining": "Amount that may still be spent: of the budget, and of the credits if prepaid; NULL for no limit",
        }
        | IMPRESSION_COLUMNS,
    ),
    "campaigns": (
        CAMPAIGNS,
        "Every campaign: its terms, what was booked, and what remains",
        {
            "campaign_id": "Campaign",
            "order_id": "Order whose budget the campaign shares; NULL for none",
            "advertiser_id": "Advertiser, who pays",
            "advertiser": "Name of the advertiser",
            "status": "active, paused or ended",
            "currency": "Currency of every amount",
            "timezone": "Time zone in which its days and months begin",
            "starts_at": "Start of the flight",
            "ends_at": "End of the flight, exclusive",
            "cpm": "Price of a thousand ads; NULL if the price is for something else",
            "price_model": "What the price is for: cpm, a thousand ads; cpc, a click; cpcv, a completed view; flat, the flight",
            "price": "Price, as its model says",
            "billing": "Event that charges for an ad: serve, impression, click or complete",
            "pacing": "asap; even: spend may grow linearly with time; or front: ahead of that",
            "front_percent": "Percent by which spend may be ahead of even pacing; NULL unless front",
            "hour_budget": "Amount that may be spent in an hour; NULL for no limit",
            "day_budget": "Amount that may be spent in a day; NULL for no limit",
            "lifetime_budget": "Amount that may be spent at all; NULL for no limit",
            "hour_impressions": "Number of ads that may be served in an hour; NULL for no limit",
            "day_impressions": "Number of ads that may be served in a day; NULL for no limit",
            "lifetime_impressions": "Number of ads that may be served at all; NULL for no limit",
        }
        | DELIVERY_COLUMNS
        | {"remaining": "What may still be spent of the lifetime budget; NULL for no limit"}
        | IMPRESSION_COLUMNS,
    ),
    "order_credits": (
        ORDER_CREDITS,
        "Credits of prepaid orders, with the role that recorded them and the reason",
        {
            "order_id": "Order",
            "advertiser": "Name of the advertiser",
            "amount": "Amount that may be spent in addition; negative if money was taken back",
            "currency": "Currency of the amount",
            "reason": "Reason, such as the number of the payment",
            "recorded_at": "When the credit was recorded",
            "recorded_by": "Database role that recorded the credit",
            "idempotency_key": "Chosen by the caller; repeating it credits nothing more",
        },
    ),
    "payouts": (
        PAYOUTS,
        "Money that was paid to publishers",
        {
            "publisher_id": "Publisher that was paid",
            "publisher": "Name of the publisher when it was recorded",
            "amount": "Amount that was paid; negative if the publisher paid it back",
            "currency": "Currency of the amount",
            "recorded_at": "When the payout was recorded",
            "recorded_by": "Database role that recorded the payout",
            "idempotency_key": "Chosen by the caller; repeating it records nothing more",
        },
    ),
    "publisher_statement": (
        PUBLISHER_STATEMENT,
        "The accounts of publishers: one row for each publisher, currency, and month with entries or payouts",
        {
            "publisher_id": "Publisher",
            "publisher": "Name of the publisher on the day of its last entry or payout of the month",
            "currency": "Currency of every amount; one account for each",
            "month": "First day of the month; a payout belongs to the UTC month in which it was recorded",
            "opening_balance": "What was owed before the month; negative if more was paid than earned",
            "delivered": "The publisher''s part of what was charged for ads",
            "corrected": "The publisher''s part of reversals",
            "earned": "delivered + corrected: what the publisher has earned",
            "paid": "What the publisher was paid",
            "closing_balance": "opening_balance + earned - paid: what is owed after the month",
        },
    ),
}


def upgrade() -> None:
    create_payouts()
    for name, (query, comment, columns) in VIEWS.items():
        op.execute(f"CREATE VIEW finance.{name} AS {query}")
        op.execute(f"COMMENT ON VIEW finance.{name} IS '{comment}'")
        for column, column_comment in columns.items():
            op.execute(f"COMMENT ON COLUMN finance.{name}.\"{column}\" IS '{column_comment}'")
        op.execute(f"GRANT SELECT ON finance.{name} TO adserver_finance, adserver_app")
    op.execute(TERMS_AS_OF)
    op.execute(TERMS_AS_OF_COMMENT)
    op.execute("REVOKE EXECUTE ON FUNCTION finance.terms_as_of(timestamptz) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION finance.terms_as_of(timestamptz) TO adserver_finance, adserver_app")


def downgrade() -> None:
    op.execute("DROP FUNCTION finance.terms_as_of(timestamptz)")
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW finance.{name}")
    op.drop_table("payouts")


def create_payouts() -> None:
    op.create_table(
        "payouts",
        required("idempotency_key", Identifier, "Chosen by the caller; repeating it records nothing more"),
        reference("publisher_id", "publishers.id", "Publisher that was paid"),
        required("publisher_name", Text, "Name of the publisher when it was recorded"),
        required("currency", String(3), "Currency of the amount"),
        required("amount", Money, "Amount that was paid; negative if the publisher paid it back"),
        required("recorded_at", Timestamp, "When the payout was recorded"),
        required("recorded_by", Text, "Database role that recorded the payout"),
        PrimaryKeyConstraint("idempotency_key"),
        CheckConstraint("amount <> 0", name="payout_is_not_zero"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="payout_currency_is_a_code"),
        comment="Money that was paid to publishers; append-only",
    )
    # The server's role records payouts and cannot change or delete them.
    op.execute("GRANT SELECT, INSERT ON payouts TO adserver_app")
