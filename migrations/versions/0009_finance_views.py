"""The schema finance: views whose columns are a contract.

Revision ID: 0009
Revises: 0008
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Day of an entry in the campaign's time zone: that of the serve or, for a correction, that of the date it carries.
ENTRY_DAY = """
(CASE WHEN l.kind IN ('charge', 'settle') THEN l.day_start ELSE l.booked_at END AT TIME ZONE c.timezone)::date
"""

# Everything booked, by day: the daily sums, and the entries that they do not include yet.
DAILY = f"""
SELECT day, campaign_id, currency, kind, booked_on, amount, entries FROM public.spend_daily
UNION ALL
SELECT {ENTRY_DAY},
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

# If a budget is lowered below what is used, its running period keeps a limit of what is used; but nothing is served above
# the budget when holds end, so the limit shown is computed from the budget. Periods that are over keep the limit they had.
BUDGETS = """
SELECT t.campaign_id, c.advertiser, t.period, t.period_start, c.currency, l."limit", t.spent, t.held,
       l."limit" - t.spent - t.held AS remaining, public.percentage_spent(t.spent, l."limit") AS percentage_spent,
       public.budget_pace(l."limit", t.period, t.period_start, 'even', c.starts_at, c.ends_at, c.timezone) AS even_pace,
       r.running, t.impressions, l.impressions_limit, l.impressions_limit - t.impressions AS impressions_remaining
FROM public.budget_tracking t JOIN public.campaigns c ON c.id = t.campaign_id
CROSS JOIN LATERAL (
    SELECT t.period_start = public.window_start(t.period, public.adserver_clock(), c.timezone) AS running
) AS r
LEFT JOIN public.campaign_budgets b ON r.running AND b.campaign_id = t.campaign_id AND b.period = t.period
CROSS JOIN LATERAL (
    SELECT (CASE WHEN b.period IS NULL THEN t."limit" ELSE public.budget_limit(b."limit", t.spent + t.held) END)
               ::numeric(18,6) AS "limit",
           (CASE WHEN b.period IS NULL THEN t.impressions_limit
                 ELSE public.budget_limit(b.impressions_limit, t.impressions) END)::bigint AS impressions_limit
) AS l
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

INVOICE_LINES = f"""
SELECT l.entry_id, l.booked_at, c.advertiser, l.campaign_id,
       {ENTRY_DAY} AS day,
       l.kind, l.request_key AS serve_id, l.slot, l.amount, l.currency, l.reason
FROM public.spend_ledger l JOIN public.campaigns c ON c.id = l.campaign_id
"""

CLOSED_MONTHS = """
SELECT month, closed_at, closed_by, entries, encode(hash, 'hex') AS hash FROM public.closed_months
"""

# A repeated request for an ad that was already served is not a new request, and a malformed one is not a request at all.
FILL_RATE_DAILY = """
SELECT requested_on, sum(requests)::bigint AS requests,
       coalesce(sum(requests) FILTER (WHERE outcome = 'served'), 0)::bigint AS filled,
       round(coalesce(sum(requests) FILTER (WHERE outcome = 'served'), 0) * 100.0 / sum(requests), 2) AS fill_percentage
FROM public.requests_daily WHERE outcome NOT IN ('repeat', 'error') GROUP BY requested_on
"""

NO_FILL_DAILY = """
SELECT requested_on, outcome AS reason, requests
FROM public.requests_daily WHERE outcome NOT IN ('served', 'repeat', 'error')
"""

CAMPAIGN_COLUMNS = {"campaign_id": "Campaign", "advertiser": "Advertiser, who pays"}
SUMS_COLUMNS = {
    "delivered": "Charged for ads",
    "corrected": "Adjustments and reversals",
    "spent": "delivered + corrected: the amount to be paid",
    "impressions": "Number of ads charged",
}

VIEWS = {
    "campaign_spend": (
        CAMPAIGN_SPEND,
        "Total spend of every campaign, one row for each campaign",
        CAMPAIGN_COLUMNS
        | {"currency": "Currency of every amount", "status": "active, paused or ended"}
        | SUMS_COLUMNS
        | {"held": "Held for ads that were served and not yet seen", "open_holds": "Number of those ads"},
    ),
    "campaign_spend_daily": (
        CAMPAIGN_SPEND_DAILY,
        "Spend by campaign, day in the campaign''s time zone, and currency",
        CAMPAIGN_COLUMNS
        | {
            "day": "Day in the campaign''s time zone: of the serve or, for a correction, of the date of the entry",
            "currency": "Currency of every amount",
        }
        | SUMS_COLUMNS,
    ),
    "advertiser_spend_monthly": (
        ADVERTISER_SPEND_MONTHLY,
        "Spend by advertiser, month in the campaigns'' time zones, and currency",
        {
            "advertiser": "Advertiser, who pays",
            "month": "First day of the month",
            "currency": "Currency of every amount; one row for each, because currencies are never added together",
            "campaigns": "Number of campaigns with entries in the month",
        }
        | SUMS_COLUMNS,
    ),
    "budgets": (
        BUDGETS,
        "Budget against actual: every budget period of every campaign",
        CAMPAIGN_COLUMNS
        | {
            "period": "hour, day or lifetime",
            "period_start": "Start of the period; 1970 for lifetime",
            "currency": "Currency of every amount",
            "limit": "Amount that may be spent in this period; NULL for no limit",
            "spent": "Charged so far",
            "held": "Held for ads that were served and not yet seen",
            "remaining": "limit - spent - held",
            "percentage_spent": "spent in percent of limit; held is not included",
            "even_pace": "Amount that would be spent by now if spend grew evenly",
            "running": "Whether the period is the current one",
            "impressions": "Number of ads charged or held",
            "impressions_limit": "Number of ads that may be served in this period; NULL for no limit",
            "impressions_remaining": "impressions_limit - impressions",
        },
    ),
    "unbilled_holds": (
        UNBILLED_HOLDS,
        "Open holds: ads that were served and not yet seen",
        CAMPAIGN_COLUMNS
        | {
            "currency": "Currency of the amount",
            "served_on": "UTC day of the serves",
            "held": "Sum of the holds",
            "holds": "Number of holds",
            "first_expires_at": "When the first hold is released unless its ad is seen",
            "last_expires_at": "When the last hold is released unless its ad is seen",
        },
    ),
    "corrections": (
        CORRECTIONS,
        "Adjustments and reversals, with the role that booked them and the reason",
        {
            "entry_id": "Entry of the ledger",
            "booked_at": "Date of the entry",
            "recorded_at": "When the correction was made",
            "recorded_by": "Database role that made the correction",
            "kind": "adjustment or reversal",
        }
        | CAMPAIGN_COLUMNS
        | {
            "amount": "Amount added to what is spent",
            "currency": "Currency of the amount",
            "reason": "Reason of the correction",
            "reverses": "Entry that a reversal takes back",
            "idempotency_key": "Chosen by the caller; repeating it books nothing more",
        },
    ),
    "delivery_daily": (
        DELIVERY_DAILY,
        "Ads served and seen by UTC day; days that retention has dropped are missing",
        {"served_on": "UTC day"}
        | CAMPAIGN_COLUMNS
        | {
            "placement_id": "Placement; NULL if the request named the campaign",
            "currency": "Currency of the campaign",
            "serves": "Number of ads served",
            "seen": "Number of ads whose impression was reported",
            "seen_percentage": "seen in percent of serves",
        },
    ),
    "invoice_lines": (
        INVOICE_LINES,
        "Every entry of the ledger as a line of an invoice",
        {
            "entry_id": "Entry of the ledger",
            "booked_at": "When it was booked",
            "advertiser": "Advertiser, who pays",
            "campaign_id": "Campaign",
            "day": "Day in the campaign''s time zone: of the serve or, for a correction, of the date of the entry",
            "kind": "charge, settle, adjustment or reversal",
            "serve_id": "Request of the serve; NULL for an adjustment",
            "slot": "Position of the ad in its pod",
            "amount": "Amount added to what must be paid",
            "currency": "Currency of the amount",
            "reason": "Reason of a manual entry",
        },
    ),
    "closed_months": (
        CLOSED_MONTHS,
        "Months that accept no more entries",
        {
            "month": "First day of the UTC month",
            "closed_at": "When the month was closed",
            "closed_by": "Database role that closed the month",
            "entries": "Number of entries in the month",
            "hash": "SHA-256, chained over the entries",
        },
    ),
    "fill_rate_daily": (
        FILL_RATE_DAILY,
        "Ad requests by UTC day, and how many of them got an ad",
        {
            "requested_on": "UTC day",
            "requests": "Number of ad requests, without repeated requests for an ad that was already served",
            "filled": "Number of requests that got an ad or a pod",
            "fill_percentage": "filled in percent of requests",
        },
    ),
    "no_fill_daily": (
        NO_FILL_DAILY,
        "Ad requests that got no ad, by UTC day and reason",
        {
            "requested_on": "UTC day",
            "reason": "Reason, as in the header X-No-Fill-Reason",
            "requests": "Number of requests",
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

BALANCE_AS_OF_COMMENT = """
COMMENT ON FUNCTION finance.balance_as_of(timestamptz) IS
'Total spend of every campaign at a past moment, by the dates of the entries'
"""


def upgrade() -> None:
    op.execute("CREATE SCHEMA finance")
    op.execute("COMMENT ON SCHEMA finance IS 'Views for finance whose columns are a contract, version 1.2'")
    for name, (query, comment, columns) in VIEWS.items():
        op.execute(f"CREATE VIEW finance.{name} AS {query}")
        op.execute(f"COMMENT ON VIEW finance.{name} IS '{comment}'")
        for column, column_comment in columns.items():
            op.execute(f"COMMENT ON COLUMN finance.{name}.\"{column}\" IS '{column_comment}'")
    op.execute(BALANCE_AS_OF)
    op.execute(BALANCE_AS_OF_COMMENT)
    op.execute("REVOKE EXECUTE ON FUNCTION finance.balance_as_of(timestamptz) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION finance.balance_as_of(timestamptz) TO adserver_finance, adserver_app")
    op.execute("GRANT USAGE ON SCHEMA finance TO adserver_finance, adserver_app")
    op.execute("GRANT SELECT ON ALL TABLES IN SCHEMA finance TO adserver_finance, adserver_app")


def downgrade() -> None:
    op.execute("DROP SCHEMA finance CASCADE")
