"""The view finance.reconciliation: every disagreement in the books.

Revision ID: 0010
Revises: 0009
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# I1: CHECK constraints enforce the same; this finds what happened if one was dropped.
WITHIN_LIMITS = """
SELECT 'I1' AS rule, t.campaign_id, t.order_id, t.period || ' ' || t.period_start AS subject, l.expected, l.actual,
       l.explanation
FROM public.budget_tracking t
CROSS JOIN LATERAL (VALUES
    (t."limit", t.spent + t.held, 'spent and held exceed the limit'),
    (t.impressions_limit, t.impressions, 'impressions exceed the limit')
) AS l (expected, actual, explanation)
WHERE l.actual > l.expected
"""

# I2: three counters of each period, against the entries and the open holds that count in it.
COUNTERS = """
SELECT 'I2', coalesce(t.campaign_id, s.campaign_id), coalesce(t.order_id, s.order_id),
       coalesce(t.period, s.period) || ' ' || coalesce(t.period_start, s.period_start), n.expected, n.actual,
       CASE WHEN t.budget_id IS NULL THEN 'there is no counter for what was booked'
            ELSE n.counter || ' is not the sum of its ' || n.source END
FROM (
    SELECT p.campaign_id, p.order_id, p.period, p.period_start, sum(e.spent) AS spent, sum(e.held) AS held,
           sum(e.ads) AS ads
    FROM (
        SELECT campaign_id, order_id, hour_start, day_start, sum(amount) AS spent, 0 AS held,
               count(*) FILTER (WHERE kind IN ('charge', 'settle')) AS ads
        FROM public.spend_ledger GROUP BY campaign_id, order_id, hour_start, day_start
        UNION ALL
        SELECT campaign_id, order_id, hour_start, day_start, 0, sum(price), count(*)
        FROM public.holds GROUP BY campaign_id, order_id, hour_start, day_start
    ) AS e
    CROSS JOIN LATERAL (VALUES
        (e.campaign_id, NULL, 'hour', e.hour_start), (e.campaign_id, NULL, 'day', e.day_start),
        (e.campaign_id, NULL, 'lifetime', to_timestamp(0)), (NULL, e.order_id, 'lifetime', to_timestamp(0))
    ) AS p (campaign_id, order_id, period, period_start)
    WHERE num_nonnulls(p.campaign_id, p.order_id) = 1
    GROUP BY p.campaign_id, p.order_id, p.period, p.period_start
) AS s
FULL JOIN public.budget_tracking t
    ON t.budget_id = coalesce(s.campaign_id, ' order ' || s.order_id) AND t.period = s.period
    AND t.period_start = s.period_start
CROSS JOIN LATERAL (VALUES
    ('spent', 'ledger entries', coalesce(s.spent, 0), t.spent),
    ('held', 'open holds', coalesce(s.held, 0), t.held),
    ('impressions', 'charges and open holds', coalesce(s.ads, 0), t.impressions)
) AS n (counter, source, expected, actual)
WHERE n.expected <> n.actual OR (t.budget_id IS NULL AND n.counter = 'spent' AND s.period = 'lifetime' AND EXISTS (
    SELECT FROM public.configured_budgets b
    WHERE b.budget_id = coalesce(s.campaign_id, ' order ' || s.order_id) AND b.period = 'lifetime'))
"""

# I3: each serve and its charge, hold or release cancel out. No beacon counts for as long as eight days.
SERVES = """
SELECT 'I3', campaign_id, NULL, request_key || '/' || slot, sum(served), sum(paid), CASE
    WHEN sum(paid) = 0 THEN 'a serve of ' || price || ' ' || currency || ' was neither charged, held nor released'
    WHEN sum(served) = 0 THEN price || ' ' || currency || ' was charged, held or released, and not served'
    ELSE 'a serve of ' || price || ' ' || currency || ' was charged, held or released more than once' END
FROM (
    SELECT request_key, slot, campaign_id, currency, price, billing, 1 AS served, 0 AS paid, served_on AS day
    FROM public.ad_serves
    UNION ALL
    SELECT request_key, slot, campaign_id, currency, amount, CASE kind WHEN 'charge' THEN 'serve' ELSE 'impression' END,
           0, 1, (booked_at AT TIME ZONE 'UTC')::date - 8
    FROM public.spend_ledger WHERE kind IN ('charge', 'settle')
    UNION ALL
    SELECT request_key, slot, campaign_id, currency, price, 'impression', 0, 1, served_on FROM public.holds
    UNION ALL
    SELECT request_key, slot, campaign_id, currency, price, 'impression', 0, 1, served_on FROM public.hold_releases
) AS both_sides
GROUP BY request_key, slot, campaign_id, currency, price, billing
HAVING sum(served) <> sum(paid) AND (sum(served) > 0 OR max(day) >= coalesce(
    (SELECT dropped_before FROM public.retention WHERE parent = 'ad_serves'), '-infinity'))
"""

DAILY_SUMS = """
SELECT 'rollup', coalesce(r.campaign_id, l.campaign_id), coalesce(r.order_id, l.order_id),
       coalesce(r.booked_on, l.booked_on) || ' ' || coalesce(r.kind, l.kind) || ' recorded '
           || coalesce(r.recorded_on, l.recorded_on),
       coalesce(l.amount, 0), coalesce(r.amount, 0), 'the daily rollup is not the sum of its ledger entries'
FROM public.spend_daily r
FULL JOIN (
    SELECT booked_on, (booked_at AT TIME ZONE 'UTC')::date AS recorded_on, order_id, advertiser_id, advertiser_name,
           campaign_id, publisher_id, publisher_name, currency, kind, sum(amount) AS amount,
           sum(publisher_amount) AS publisher_amount, count(*) AS entries, count(request_key) AS ads
    FROM public.spend_ledger WHERE booked_at < (SELECT rolled_up_to FROM public.books_state)
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
) AS l ON (l.booked_on, l.recorded_on, l.advertiser_id, l.advertiser_name, l.campaign_id, l.currency, l.kind)
        = (r.booked_on, r.recorded_on, r.advertiser_id, r.advertiser_name, r.campaign_id, r.currency, r.kind)
    AND coalesce(l.order_id, '') = coalesce(r.order_id, '')
    AND coalesce(l.publisher_id, '') = coalesce(r.publisher_id, '')
    AND coalesce(l.publisher_name, '') = coalesce(r.publisher_name, '')
WHERE (l.amount, l.publisher_amount, l.entries, l.ads)
    IS DISTINCT FROM (r.amount, r.publisher_amount, r.entries, r.ads)
"""

# A CHECK constraint enforces the same; this finds what happened if it was dropped.
SPLIT_AMOUNTS = """
SELECT 'split', campaign_id, order_id, 'entry ' || entry_id, amount, publisher_amount + house_amount,
       'the parts of publisher and house are not the amount'
FROM public.spend_ledger WHERE amount <> publisher_amount + house_amount
"""

MANUAL_ENTRIES = """
SELECT 'correction', coalesce(k.campaign_id, l.campaign_id), NULL, 'entry ' || coalesce(k.entry_id, l.entry_id),
       k.amount, l.amount, 'the manual entry and the record of who booked it differ'
FROM public.ledger_corrections k
FULL JOIN (
    SELECT entry_id, booked_on, kind, campaign_id, amount, currency FROM public.spend_ledger
    WHERE kind IN ('adjustment', 'reversal')
) AS l USING (entry_id, booked_on)
WHERE (k.kind, k.campaign_id, k.amount, k.currency) IS DISTINCT FROM (l.kind, l.campaign_id, l.amount, l.currency)
"""

# A reversal takes back the whole of its entry, from the same parties.
REVERSALS = """
SELECT 'split', r.campaign_id, r.order_id, 'entry ' || r.entry_id, -e.publisher_amount, r.publisher_amount,
       'the reversal is not split as entry ' || e.entry_id || ' was'
FROM public.ledger_corrections k
JOIN public.spend_ledger r ON r.entry_id = k.entry_id AND r.booked_on = k.booked_on
JOIN public.spend_ledger e ON e.entry_id = k.reverses AND e.booked_on = k.reverses_booked_on
WHERE (r.amount, r.publisher_amount, r.order_id, r.publisher_id)
    IS DISTINCT FROM (-e.amount, -e.publisher_amount, e.order_id, e.publisher_id)
"""

# No more may be spent of a prepaid order than was credited, even if its limit is higher.
PREPAID_ORDERS = """
SELECT 'order', NULL, o.id, 'credits', k.credited, t.spent + t.held, 'spent and held exceed what was credited'
FROM public.orders o JOIN public.budget_tracking t ON t.order_id = o.id
CROSS JOIN LATERAL (SELECT coalesce(sum(amount), 0) AS credited FROM public.order_credits WHERE order_id = o.id) AS k
WHERE o.prepaid AND t.spent + t.held > k.credited
"""

ORDER_LIMITS = """
SELECT 'order', NULL, o.id, 'limit', l.expected, b."limit", CASE
    WHEN o.prepaid THEN 'the configured limit is not the lower one of the budget and the credits'
    ELSE 'the configured limit is not the budget' END
FROM public.orders o LEFT JOIN public.configured_budgets b ON b.order_id = o.id
CROSS JOIN LATERAL (
    SELECT CASE WHEN o.prepaid THEN least(o.budget, coalesce(sum(amount), 0)) ELSE o.budget END AS expected
    FROM public.order_credits WHERE order_id = o.id
) AS l
WHERE b."limit" IS DISTINCT FROM l.expected
UNION ALL
SELECT 'order', NULL, o.id, 'impressions', o.impressions, b.impressions_limit,
       'the configured number of impressions is not that of the order'
FROM public.orders o LEFT JOIN public.configured_budgets b ON b.order_id = o.id
WHERE b.impressions_limit IS DISTINCT FROM o.impressions
"""

RECONCILIATION = " UNION ALL ".join(
    (
        WITHIN_LIMITS,
        COUNTERS,
        SERVES,
        DAILY_SUMS,
        MANUAL_ENTRIES,
        SPLIT_AMOUNTS,
        REVERSALS,
        PREPAID_ORDERS,
        ORDER_LIMITS,
    )
)

COLUMNS = {
    "rule": "I1 budgets, I2 counters, I3 serves, rollup, correction, split, order, or invoice",
    "campaign_id": "Campaign; NULL for the budget of an order, and for an invoice",
    "order_id": "Order; NULL for none",
    "subject": "The budget period, serve, rollup or entry",
    "expected": "Value that it should have",
    "actual": "Value that it has",
    "explanation": "Description of the disagreement",
}

COMMENT = """
COMMENT ON VIEW finance.reconciliation IS
'Every disagreement in the books; no rows if the books agree. WHERE rule = ... runs that check alone'
"""

# Later revisions add their rules to the definition as Postgres prints it, which differs from the one above in casts and
# parentheses. In this form a downgrade restores exactly what there was.
PRINTED_FORM = """
DO $$
BEGIN
    EXECUTE 'CREATE OR REPLACE VIEW finance.reconciliation AS '
        || pg_get_viewdef('finance.reconciliation'::regclass);
END
$$
"""


def upgrade() -> None:
    op.execute(f"CREATE VIEW finance.reconciliation AS {RECONCILIATION}")
    op.execute(PRINTED_FORM)
    op.execute(COMMENT)
    for column, comment in COLUMNS.items():
        op.execute(f"COMMENT ON COLUMN finance.reconciliation.{column} IS '{comment}'")
    op.execute("GRANT SELECT ON finance.reconciliation TO adserver_finance, adserver_app")


def downgrade() -> None:
    op.execute("DROP VIEW finance.reconciliation")
