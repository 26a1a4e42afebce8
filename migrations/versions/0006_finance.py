"""The finance schema: views that are a contract, and the reconciliation.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# What is booked, by day: the rollups, and the entries that they do not have yet.
DAILY = """
SELECT day, campaign_id, currency, kind, booked_on, amount, entries FROM public.spend_daily
UNION ALL
SELECT (CASE WHEN l.kind IN ('charge', 'settle') THEN l.day_start ELSE l.booked_at END AT TIME ZONE c.timezone)::date,
       l.campaign_id, l.currency, l.kind, (l.booked_at AT TIME ZONE 'UTC')::date, l.amount, 1
FROM public.spend_ledger l JOIN public.campaigns c ON c.id = l.campaign_id
WHERE l.booked_at >= (SELECT rolled_up_to FROM public.books_state)
"""

SUMS = """
       coalesce(sum(d.amount) FILTER (WHERE d.kind IN ('charge', 'settle')), 0) AS delivered,
       coalesce(sum(d.amount) FILTER (WHERE d.kind IN ('adjustment', 'reversal')), 0) AS corrected,
       coalesce(sum(d.amount), 0) AS spent,
       coalesce(sum(d.entries) FILTER (WHERE d.kind IN ('charge', 'settle')), 0)::bigint AS impressions
"""

SUMS_COMMENTS = {
    "delivered": "Charged for ads",
    "corrected": "Adjustments and reversals",
    "spent": "delivered + corrected: what is to be paid",
    "impressions": "Ads charged",
}

CAMPAIGN_SPEND = f"""
SELECT c.id AS campaign_id, c.advertiser, c.currency, c.status,{SUMS},
       coalesce(h.held, 0) AS held, coalesce(h.holds, 0) AS open_holds
FROM public.campaigns c
LEFT JOIN ({DAILY}) AS d ON d.campaign_id = c.id AND d.currency = c.currency
LEFT JOIN (SELECT campaign_id, sum(price) AS held, count(*) AS holds FROM public.holds GROUP BY 1) AS h
    ON h.campaign_id = c.id
GROUP BY c.id, h.held, h.holds
"""

CAMPAIGN_SPEND_DAILY = f"""
SELECT d.campaign_id, c.advertiser, d.day, d.currency,{SUMS}
FROM ({DAILY}) AS d JOIN public.campaigns c ON c.id = d.campaign_id
GROUP BY d.campaign_id, c.advertiser, d.day, d.currency
"""

ADVERTISER_SPEND_MONTHLY = f"""
SELECT c.advertiser, date_trunc('month', d.day)::date AS month, d.currency, count(DISTINCT c.id) AS campaigns,{SUMS}
FROM ({DAILY}) AS d JOIN public.campaigns c ON c.id = d.campaign_id
GROUP BY c.advertiser, 2, d.currency
"""

BUDGETS = """
SELECT t.campaign_id, c.advertiser, t.period, t.period_start, c.currency, t."limit", t.spent, t.held,
       t."limit" - t.spent - t.held AS remaining,
       CASE WHEN t."limit" = 0 THEN 100 ELSE round((t.spent + t.held) * 100 / t."limit", 2) END AS percentage_spent,
       public.budget_pace(t."limit", t.period, t.period_start, 'even', c.starts_at, c.ends_at, c.timezone) AS even_pace,
       t.period_start = public.window_start(t.period, public.adserver_clock(), c.timezone) AS running, t.impressions
FROM public.budget_tracking t JOIN public.campaigns c ON c.id = t.campaign_id
"""

UNBILLED_HOLDS = """
SELECT h.campaign_id, c.advertiser, h.currency, h.served_on, sum(h.price) AS held, count(*) AS holds,
       min(h.expires_at) AS first_expires_at, max(h.expires_at) AS last_expires_at
FROM public.holds h JOIN public.campaigns c ON c.id = h.campaign_id
GROUP BY h.campaign_id, c.advertiser, h.currency, h.served_on
"""

CORRECTIONS = """
SELECT k.entry_id, k.booked_at, k.recorded_at, k.recorded_by, k.kind, k.campaign_id, c.advertiser, k.amount, k.currency,
       k.reason, k.reverses, k.idempotency_key
FROM public.ledger_corrections k JOIN public.campaigns c ON c.id = k.campaign_id
"""

DELIVERY_DAILY = """
SELECT s.served_on, s.campaign_id, c.advertiser, s.placement_id, s.currency, count(*) AS serves,
       count(e.request_key) AS seen, round(count(e.request_key) * 100.0 / count(*), 2) AS seen_percentage
FROM public.ad_serves s
JOIN public.campaigns c ON c.id = s.campaign_id
LEFT JOIN public.ad_events e ON e.request_key = s.request_key AND e.slot = s.slot AND e.served_on = s.served_on
    AND e.event = 'impression'
GROUP BY s.served_on, s.campaign_id, c.advertiser, s.placement_id, s.currency
"""

INVOICE_LINES = """
SELECT l.entry_id, l.booked_at, c.advertiser, l.campaign_id,
       (CASE WHEN l.kind IN ('charge', 'settle') THEN l.day_start ELSE l.booked_at END AT TIME ZONE c.timezone)::date
           AS day,
       l.kind, l.request_key AS serve_id, l.slot, l.amount, l.currency, l.reason
FROM public.spend_ledger l JOIN public.campaigns c ON c.id = l.campaign_id
"""

CLOSED_MONTHS = """
SELECT month, closed_at, closed_by, entries, encode(hash, 'hex') AS hash FROM public.closed_months
"""

# I1: the CHECK constraint says the same; this is for the day on which it was dropped.
WITHIN_BUDGET = """
SELECT 'I1' AS rule, t.campaign_id, t.period || ' ' || t.period_start AS subject, t."limit" AS expected,
       t.spent + t.held AS actual, 'spent and held exceed the limit' AS explanation
FROM public.budget_tracking t WHERE t.spent + t.held > t."limit"
"""

# I2: three counters a period, each against the entries and the open holds that count in it.
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

# I3: what was served, and what became of it, cancel out for every serve. Eight days are longer than any beacon counts.
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

ROLLUPS = """
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

RECONCILIATION = " UNION ALL ".join((WITHIN_BUDGET, COUNTERS, SERVES, ROLLUPS, MANUAL_ENTRIES))

CAMPAIGN = {"campaign_id": "Campaign", "advertiser": "Who pays"}

VIEWS = {
    "campaign_spend": (
        CAMPAIGN_SPEND,
        "What every campaign has spent in all, a row for each campaign",
        CAMPAIGN
        | {"currency": "Currency of every amount", "status": "active, paused or ended"}
        | SUMS_COMMENTS
        | {"held": "Held for ads served and not yet seen", "open_holds": "How many ads that is"},
    ),
    "campaign_spend_daily": (
        CAMPAIGN_SPEND_DAILY,
        "Spend by campaign, day in the campaign''s timezone, and currency",
        CAMPAIGN
        | {
            "day": "Day in the campaign''s timezone: of the serve, or of the booking for a correction",
            "currency": "Currency of every amount",
        }
        | SUMS_COMMENTS,
    ),
    "advertiser_spend_monthly": (
        ADVERTISER_SPEND_MONTHLY,
        "Spend by advertiser, month in the campaigns'' timezones, and currency",
        {
            "advertiser": "Who pays",
            "month": "First day of the month",
            "currency": "Currency of every amount; a row for each, because they are never added together",
            "campaigns": "How many campaigns have entries in the month",
        }
        | SUMS_COMMENTS,
    ),
    "budgets": (
        BUDGETS,
        "Budget against actual: every budget period of every campaign",
        CAMPAIGN
        | {
            "period": "hour, day or lifetime",
            "period_start": "Start of the period; 1970 for lifetime",
            "currency": "Currency of every amount",
            "limit": "What may be spent in this period",
            "spent": "Charged so far",
            "held": "Held for ads served and not yet seen",
            "remaining": "limit - spent - held",
            "percentage_spent": "(spent + held) of limit, in percent",
            "even_pace": "What would be spent by now if spend grew evenly",
            "running": "Whether the period is the present one",
            "impressions": "Ads charged or held",
        },
    ),
    "unbilled_holds": (
        UNBILLED_HOLDS,
        "Open holds: ads served and not yet seen",
        CAMPAIGN
        | {
            "currency": "Currency of the amount",
            "served_on": "UTC day of the serves",
            "held": "Sum of the holds",
            "holds": "How many",
            "first_expires_at": "When the first is released unless its ad is seen",
            "last_expires_at": "When the last is released",
        },
    ),
    "corrections": (
        CORRECTIONS,
        "Adjustments and reversals, with who booked them and why",
        {
            "entry_id": "The ledger''s entry",
            "booked_at": "The date that the entry carries",
            "recorded_at": "When it was really booked",
            "recorded_by": "The database role that booked it",
            "kind": "adjustment or reversal",
        }
        | CAMPAIGN
        | {
            "amount": "Added to what is spent",
            "currency": "Currency of the amount",
            "reason": "Why",
            "reverses": "The entry that a reversal takes back",
            "idempotency_key": "Chosen by whoever corrected",
        },
    ),
    "delivery_daily": (
        DELIVERY_DAILY,
        "Ads served and seen by UTC day; days that retention has dropped are not in it",
        {"served_on": "UTC day"}
        | CAMPAIGN
        | {
            "placement_id": "Placement; NULL when the campaign was asked for by id",
            "currency": "Currency of the campaign",
            "serves": "Ads served",
            "seen": "Ads whose impression was reported",
            "seen_percentage": "seen of serves, in percent",
        },
    ),
    "invoice_lines": (
        INVOICE_LINES,
        "Every entry of the ledger as a line of an invoice",
        {
            "entry_id": "The ledger''s entry",
            "booked_at": "When it was booked",
            "advertiser": "Who pays",
            "campaign_id": "Campaign",
            "day": "Day in the campaign''s timezone: of the serve, or of the booking for a correction",
            "kind": "charge, settle, adjustment or reversal",
            "serve_id": "The serve''s request; NULL for an adjustment",
            "slot": "The serve''s position in its pod",
            "amount": "Added to what is to be paid",
            "currency": "Currency of the amount",
            "reason": "Why, for manual entries",
        },
    ),
    "closed_months": (
        CLOSED_MONTHS,
        "Months that no entry can be booked into any more",
        {
            "month": "First day of the UTC month",
            "closed_at": "When it was closed",
            "closed_by": "The database role that closed it",
            "entries": "How many entries it has",
            "hash": "SHA-256 chained over its entries",
        },
    ),
    "reconciliation": (
        RECONCILIATION,
        "Every disagreement in the books; no rows: the books agree. WHERE rule = ... runs that check alone",
        {
            "rule": "I1 budgets, I2 counters, I3 serves, rollup, or correction",
            "campaign_id": "Campaign",
            "subject": "The budget period, serve, rollup or entry",
            "expected": "What it should be",
            "actual": "What it is",
            "explanation": "What is wrong",
        },
    ),
}

BALANCE_AS_OF = """
CREATE FUNCTION finance.balance_as_of(at timestamptz)
RETURNS TABLE (campaign_id text, advertiser text, currency text, spent numeric)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
    SELECT b.campaign_id, c.advertiser, b.currency, sum(b.amount)
    FROM (
        SELECT d.campaign_id, d.currency, d.amount FROM spend_daily d
        WHERE d.booked_on < (least(at, (SELECT rolled_up_to FROM books_state)) AT TIME ZONE 'UTC')::date
        UNION ALL
        SELECT l.campaign_id, l.currency, l.amount FROM spend_ledger l
        WHERE l.booked_at <= at AND l.booked_at >= date_trunc(
            'day', least(at, (SELECT rolled_up_to FROM books_state)), 'UTC')
    ) AS b JOIN campaigns c ON c.id = b.campaign_id
    GROUP BY b.campaign_id, c.advertiser, b.currency
    ORDER BY c.advertiser, b.campaign_id;
END
"""


def upgrade() -> None:
    op.execute("CREATE SCHEMA finance")
    op.execute("COMMENT ON SCHEMA finance IS 'What finance reads: views whose columns are a contract'")
    for name, (query, comment, columns) in VIEWS.items():
        op.execute(f"CREATE VIEW finance.{name} AS {query}")
        op.execute(f"COMMENT ON VIEW finance.{name} IS '{comment}'")
        for column, column_comment in columns.items():
            op.execute(f"COMMENT ON COLUMN finance.{name}.\"{column}\" IS '{column_comment}'")
    op.execute(BALANCE_AS_OF)
    op.execute(
        "COMMENT ON FUNCTION finance.balance_as_of(timestamptz) IS "
        "'What every campaign had spent at a past moment, by the dates that the entries carry'"
    )
    op.execute("REVOKE EXECUTE ON FUNCTION finance.balance_as_of(timestamptz) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION finance.balance_as_of(timestamptz) TO adserver_finance, adserver_app")
    op.execute("GRANT USAGE ON SCHEMA finance TO adserver_finance, adserver_app")
    op.execute("GRANT SELECT ON ALL TABLES IN SCHEMA finance TO adserver_finance, adserver_app")


def downgrade() -> None:
    op.execute("DROP SCHEMA finance CASCADE")
