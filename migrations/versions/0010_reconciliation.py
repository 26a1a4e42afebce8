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
SELECT 'I1' AS rule, t.campaign_id, t.period || ' ' || t.period_start AS subject, l.expected, l.actual, l.explanation
FROM public.budget_tracking t
CROSS JOIN LATERAL (VALUES
    (t."limit", t.spent + t.held, 'spent and held exceed the limit'),
    (t.impressions_limit, t.impressions, 'impressions exceed the limit')
) AS l (expected, actual, explanation)
WHERE l.actual > l.expected
"""

# I2: three counters of each period, against the entries and the open holds that count in it.
COUNTERS = """
SELECT 'I2', coalesce(t.campaign_id, s.campaign_id),
       coalesce(t.period, s.period) || ' ' || coalesce(t.period_start, s.period_start), n.expected, n.actual,
       CASE WHEN t.campaign_id IS NULL THEN 'there is no counter for what was booked'
            ELSE n.counter || ' is not the sum of its ' || n.source END
FROM (
    SELECT e.campaign_id, p.period, p.period_start, sum(e.spent) AS spent, sum(e.held) AS held, sum(e.ads) AS ads
    FROM (
        SELECT campaign_id, hour_start, day_start, sum(amount) AS spent, 0 AS held,
               count(*) FILTER (WHERE kind IN ('charge', 'settle')) AS ads
        FROM public.spend_ledger GROUP BY campaign_id, hour_start, day_start
        UNION ALL
        SELECT campaign_id, hour_start, day_start, 0, sum(price), count(*)
        FROM public.holds GROUP BY campaign_id, hour_start, day_start
    ) AS e
    CROSS JOIN LATERAL (
        VALUES ('hour', e.hour_start), ('day', e.day_start), ('lifetime', to_timestamp(0))) AS p (period, period_start)
    GROUP BY e.campaign_id, p.period, p.period_start
) AS s
FULL JOIN public.budget_tracking t
    ON t.campaign_id = s.campaign_id AND t.period = s.period AND t.period_start = s.period_start
CROSS JOIN LATERAL (VALUES
    ('spent', 'ledger entries', coalesce(s.spent, 0), t.spent),
    ('held', 'open holds', coalesce(s.held, 0), t.held),
    ('impressions', 'charges and open holds', coalesce(s.ads, 0), t.impressions)
) AS n (counter, source, expected, actual)
WHERE n.expected <> n.actual OR (t.campaign_id IS NULL AND n.counter = 'spent' AND s.period = 'lifetime' AND EXISTS (
    SELECT FROM public.campaign_budgets b WHERE b.campaign_id = s.campaign_id AND b.period = 'lifetime'))
"""

# I3: each serve and its charge, hold or release cancel out. No beacon counts for as long as eight days.
SERVES = """
SELECT 'I3', campaign_id, request_key || '/' || slot, sum(served), sum(paid), CASE
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
SELECT 'rollup', coalesce(r.campaign_id, l.campaign_id),
       coalesce(r.day, l.day) || ' ' || coalesce(r.kind, l.kind) || ' booked ' || coalesce(r.booked_on, l.booked_on),
       coalesce(l.amount, 0), coalesce(r.amount, 0), 'the daily rollup is not the sum of its ledger entries'
FROM public.spend_daily r
FULL JOIN (
    SELECT (CASE WHEN e.kind IN ('charge', 'settle') THEN e.day_start ELSE e.booked_at END
            AT TIME ZONE c.timezone)::date AS day,
           e.campaign_id, e.currency, e.kind, e.booked_on, sum(e.amount) AS amount, sum(e.entries) AS entries
    FROM (
        SELECT campaign_id, currency, kind, day_start, (booked_at AT TIME ZONE 'UTC')::date AS booked_on,
               CASE WHEN kind IN ('adjustment', 'reversal') THEN booked_at END AS booked_at,
               sum(amount) AS amount, count(*) AS entries
        FROM public.spend_ledger WHERE booked_at < (SELECT rolled_up_to FROM public.books_state)
        GROUP BY 1, 2, 3, 4, 5, 6
    ) AS e JOIN public.campaigns c ON c.id = e.campaign_id
    GROUP BY 1, 2, 3, 4, 5
) AS l USING (day, campaign_id, currency, kind, booked_on)
WHERE (l.amount, l.entries) IS DISTINCT FROM (r.amount, r.entries)
"""

MANUAL_ENTRIES = """
SELECT 'correction', coalesce(k.campaign_id, l.campaign_id), 'entry ' || coalesce(k.entry_id, l.entry_id), k.amount,
       l.amount, 'the manual entry and the record of who booked it differ'
FROM public.ledger_corrections k
FULL JOIN (
    SELECT entry_id, booked_at, kind, campaign_id, amount, currency FROM public.spend_ledger
    WHERE kind IN ('adjustment', 'reversal')
) AS l USING (entry_id, booked_at)
WHERE (k.kind, k.campaign_id, k.amount, k.currency) IS DISTINCT FROM (l.kind, l.campaign_id, l.amount, l.currency)
"""

RECONCILIATION = " UNION ALL ".join((WITHIN_LIMITS, COUNTERS, SERVES, DAILY_SUMS, MANUAL_ENTRIES))

COLUMNS = {
    "rule": "I1 budgets, I2 counters, I3 serves, rollup, or correction",
    "campaign_id": "Campaign",
    "subject": "The budget period, serve, rollup or entry",
    "expected": "Value that it should have",
    "actual": "Value that it has",
    "explanation": "Description of the disagreement",
}

COMMENT = """
COMMENT ON VIEW finance.reconciliation IS
'Every disagreement in the books; no rows if the books agree. WHERE rule = ... runs that check alone'
"""


def upgrade() -> None:
    op.execute(f"CREATE VIEW finance.reconciliation AS {RECONCILIATION}")
    op.execute(COMMENT)
    for column, comment in COLUMNS.items():
        op.execute(f"COMMENT ON COLUMN finance.reconciliation.{column} IS '{comment}'")
    op.execute("GRANT SELECT ON finance.reconciliation TO adserver_finance, adserver_app")


def downgrade() -> None:
    op.execute("DROP VIEW finance.reconciliation")
