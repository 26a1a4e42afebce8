"""The schema finance: views whose columns are a contract.

Revision ID: 0009
Revises: 0008
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Everything booked, by day: the daily sums, and the entries that they do not include yet.
DAILY = """
SELECT booked_on, recorded_on, order_id, advertiser_id, advertiser_name, campaign_id, publisher_id, publisher_name,
       currency, kind, amount, publisher_amount, ads
FROM public.spend_daily
UNION ALL
SELECT booked_on, (booked_at AT TIME ZONE 'UTC')::date, order_id, advertiser_id, advertiser_name, campaign_id,
       publisher_id, publisher_name, currency, kind, amount, publisher_amount, num_nonnulls(request_key)
FROM public.spend_ledger
WHERE booked_at >= (SELECT rolled_up_to FROM public.books_state)
"""

SUMS = """
       coalesce(sum(d.amount) FILTER (WHERE d.kind IN ('charge', 'settle', 'flat')), 0) AS delivered,
       coalesce(sum(d.amount) FILTER (WHERE d.kind IN ('adjustment', 'reversal')), 0) AS corrected,
       coalesce(sum(d.amount), 0) AS spent,
       coalesce(sum(d.ads) FILTER (WHERE d.kind IN ('charge', 'settle')), 0)::bigint AS impressions,
       coalesce(sum(d.ads) FILTER (WHERE d.kind = 'reversal'), 0)::bigint AS reversed,
       coalesce(sum(CASE WHEN d.kind IN ('charge', 'settle') THEN d.ads WHEN d.kind = 'reversal' THEN -d.ads END), 0)
           ::bigint AS billable
"""

# A company that was renamed has the name of its last day in the group. Rollups do not keep the order of a day's entries,
# so a day with two names has the alphabetically first one, before and after it is rolled up.
LAST_DAY_FIRST = "d.booked_on DESC, d.recorded_on DESC"
ADVERTISER_NAME = f"(array_agg(d.advertiser_name ORDER BY {LAST_DAY_FIRST}, d.advertiser_name))[1] AS advertiser"
PUBLISHER_NAME = f"(array_agg(d.publisher_name ORDER BY {LAST_DAY_FIRST}, d.publisher_name))[1] AS publisher"

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
SELECT d.campaign_id, {ADVERTISER_NAME}, d.booked_on AS day, d.currency,{SUMS}
FROM ({DAILY}) AS d
GROUP BY d.campaign_id, d.booked_on, d.currency
"""

ADVERTISER_SPEND_MONTHLY = f"""
SELECT d.advertiser_id, {ADVERTISER_NAME}, date_trunc('month', d.booked_on)::date AS month, d.currency,
       count(DISTINCT d.campaign_id) AS campaigns,{SUMS}
FROM ({DAILY}) AS d
GROUP BY d.advertiser_id, 3, d.currency
"""

EARNINGS = """
       coalesce(sum(d.publisher_amount) FILTER (WHERE d.kind IN ('charge', 'settle', 'flat')), 0) AS delivered,
       coalesce(sum(d.publisher_amount) FILTER (WHERE d.kind IN ('adjustment', 'reversal')), 0) AS corrected,
       coalesce(sum(d.publisher_amount), 0) AS earned,
       coalesce(sum(d.amount), 0) AS spent, coalesce(sum(d.amount - d.publisher_amount), 0) AS house_amount
"""

PUBLISHER_EARNINGS_DAILY = f"""
SELECT d.publisher_id, {PUBLISHER_NAME}, d.booked_on AS day, d.currency,{EARNINGS}
FROM ({DAILY}) AS d WHERE d.publisher_id IS NOT NULL
GROUP BY d.publisher_id, d.booked_on, d.currency
"""

PUBLISHER_EARNINGS_MONTHLY = f"""
SELECT d.publisher_id, {PUBLISHER_NAME}, date_trunc('month', d.booked_on)::date AS month, d.currency,{EARNINGS}
FROM ({DAILY}) AS d WHERE d.publisher_id IS NOT NULL
GROUP BY d.publisher_id, 3, d.currency
"""

# If a budget is lowered below what is used, its running period keeps a limit of what is used; but nothing is served above
# the budget when holds end, so the limit shown is computed from the budget. Periods that are over keep the limit they had.
BUDGETS = """
SELECT t.campaign_id, t.order_id, a.name AS advertiser, t.period, t.period_start, o.currency, l."limit", t.spent, t.held,
       l."limit" - t.spent - t.held AS remaining, public.percentage_spent(t.spent, l."limit") AS percentage_spent,
       public.budget_pace(l."limit", t.period, t.period_start, 'even', NULL, o.starts_at, o.ends_at, o.timezone) AS even_pace,
       r.running, t.impressions, l.impressions_limit, l.impressions_limit - t.impressions AS impressions_remaining
FROM (
    SELECT budget_id, campaign_id, order_id, period, period_start, "limit", impressions_limit, spent, held, impressions
    FROM public.budget_tracking
    UNION ALL
    SELECT campaign_id, campaign_id, NULL, period, period_start, "limit", impressions_limit, spent, 0, impressions
    FROM public.budget_archive
) AS t
JOIN (
    SELECT id AS budget_id, advertiser_id, currency, starts_at, ends_at, timezone FROM public.campaigns
    UNION ALL
    SELECT ' order ' || id, advertiser_id, currency, starts_at, ends_at, 'UTC' FROM public.orders
) AS o USING (budget_id)
JOIN public.advertisers a ON a.id = o.advertiser_id
CROSS JOIN LATERAL (
    SELECT t.period_start = public.window_start(t.period, public.adserver_clock(), o.timezone) AS running
) AS r
LEFT JOIN public.configured_budgets b ON r.running AND b.budget_id = t.budget_id AND b.period = t.period
CROSS JOIN LATERAL (
    SELECT (CASE WHEN b.period IS NULL THEN t."limit" ELSE public.budget_limit(b."limit", t.spent + t.held) END)
               ::numeric(18,6) AS "limit",
           (CASE WHEN b.period IS NULL THEN t.impressions_limit
                 ELSE public.budget_limit(b.impressions_limit, t.impressions) END)::bigint AS impressions_limit
) AS l
"""

UNBILLED_HOLDS = """
SELECT campaign_id, order_id, advertiser_name AS advertiser, publisher_id, currency, booked_on, sum(price) AS held,
       sum(publisher_amount) AS publisher_held, count(*) AS holds, min(expires_at) AS first_expires_at,
       max(expires_at) AS last_expires_at
FROM public.holds
GROUP BY campaign_id, order_id, advertiser_name, publisher_id, currency, booked_on
"""

CORRECTIONS = """
SELECT k.entry_id, k.booked_on, k.recorded_at, k.recorded_by, k.kind, k.campaign_id, l.advertiser_name AS advertiser,
       k.amount, k.currency, k.reason, k.reverses, k.idempotency_key
FROM public.ledger_corrections k
JOIN public.spend_ledger l ON l.entry_id = k.entry_id AND l.booked_on = k.booked_on
"""

DELIVERY_DAILY = """
SELECT s.served_on, s.campaign_id, c.advertiser, s.placement_id, s.publisher_id, s.currency, count(*) AS serves,
       count(e.request_key) AS seen, round(count(e.request_key) * 100.0 / count(*), 2) AS seen_percentage
FROM public.ad_serves s
JOIN public.campaigns c ON c.id = s.campaign_id
LEFT JOIN public.ad_events e ON e.request_key = s.request_key AND e.slot = s.slot AND e.served_on = s.served_on
    AND e.event = 'impression'
GROUP BY s.served_on, s.campaign_id, c.advertiser, s.placement_id, s.publisher_id, s.currency
"""

INVOICE_LINES = """
SELECT entry_id, booked_at, order_id, advertiser_id, advertiser_name AS advertiser, campaign_id, creative_id, upstream_id,
       publisher_id, publisher_name AS publisher, placement_id, booked_on AS day, late_from, kind,
       request_key AS serve_id, slot, amount, publisher_amount, house_amount, currency, reason
FROM public.spend_ledger
"""

CLOSED_MONTHS = """
SELECT month, closed_at, closed_by, entries, encode(hash, 'hex') AS hash, encode(previous_hash, 'hex') AS previous_hash,
       EXISTS (SELECT FROM public.archived_months a WHERE a.month = c.month) AS archived
FROM public.closed_months c
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
PUBLISHER_COLUMNS = {"publisher_id": "Publisher", "publisher": "Name of the publisher"}
ONE_CURRENCY = "Currency of every amount; one row for each, because currencies are never added together"
SUMS_COLUMNS = {
    "delivered": "Charged for ads",
    "corrected": "Adjustments and reversals",
    "spent": "delivered + corrected: the amount to be paid",
    "impressions": "Number of ads charged",
    "reversed": "Number of ads whose charge was taken back",
    "billable": "impressions - reversed",
}
EARNINGS_COLUMNS = {
    "currency": ONE_CURRENCY,
    "delivered": "The publisher''s part of what was charged for ads",
    "corrected": "The publisher''s part of reversals",
    "earned": "delivered + corrected: what the publisher has earned",
    "spent": "What advertisers pay for the same entries",
    "house_amount": "spent - earned: what the house keeps",
}
DAY = "Day in the campaign''s time zone on which the entries are booked"

VIEWS = {
    "campaign_spend": (
        CAMPAIGN_SPEND,
        "Total spend of every campaign, one row for each campaign",
        CAMPAIGN_COLUMNS
        | {"currency": "Currency of every amount", "status": "active, paused or ended"}
        | SUMS_COLUMNS
        | {"held": "Held for ads that were served and not yet billed", "open_holds": "Number of those ads"},
    ),
    "campaign_spend_daily": (
        CAMPAIGN_SPEND_DAILY,
        "Spend by campaign, day in the campaign''s time zone, and currency",
        CAMPAIGN_COLUMNS | {"day": DAY, "currency": "Currency of every amount"} | SUMS_COLUMNS,
    ),
    "advertiser_spend_monthly": (
        ADVERTISER_SPEND_MONTHLY,
        "Spend by advertiser, month in the campaigns'' time zones, and currency",
        {
            "advertiser_id": "Advertiser",
            "advertiser": "Name of the advertiser on the day of its last entry of the month",
            "month": "First day of the month",
            "currency": ONE_CURRENCY,
            "campaigns": "Number of campaigns with entries in the month",
        }
        | SUMS_COLUMNS,
    ),
    "publisher_earnings_daily": (
        PUBLISHER_EARNINGS_DAILY,
        "What publishers earned, by day in the campaigns'' time zones, and currency",
        PUBLISHER_COLUMNS | {"day": DAY} | EARNINGS_COLUMNS,
    ),
    "publisher_earnings_monthly": (
        PUBLISHER_EARNINGS_MONTHLY,
        "What publishers earned, by month in the campaigns'' time zones, and currency",
        PUBLISHER_COLUMNS | {"month": "First day of the month"} | EARNINGS_COLUMNS,
    ),
    "budgets": (
        BUDGETS,
        "Budget against actual: every budget period of every campaign and order",
        {
            "campaign_id": "Campaign; NULL for the budget of an order",
            "order_id": "Order; NULL for the budget of a campaign",
            "advertiser": "Advertiser, who pays",
        }
        | {
            "period": "hour, day or lifetime",
            "period_start": "Start of the period; 1970 for lifetime",
            "currency": "Currency of every amount",
            "limit": "Amount that may be spent in this period; NULL for no limit",
            "spent": "Charged so far",
            "held": "Held for ads that were served and not yet billed",
            "remaining": "limit - spent - held",
            "percentage_spent": "spent in percent of limit; held is not included",
            "even_pace": "Amount that would be spent by now if spend grew evenly",
            "running": "Whether the period is the current one",
            "impressions": "Number of ads charged or held; of a campaign that is sold by click or completed view, the number of those",
            "impressions_limit": "Number of ads that may be served in this period; NULL for no limit",
            "impressions_remaining": "impressions_limit - impressions",
        },
    ),
    "unbilled_holds": (
        UNBILLED_HOLDS,
        "Open holds: ads that were served and not yet billed",
        CAMPAIGN_COLUMNS
        | {
            "order_id": "Order; NULL for none",
            "publisher_id": "Publisher of the placement",
            "currency": "Currency of the amounts",
            "booked_on": "Day in the campaign''s time zone to which they will be booked",
            "held": "Sum of the holds",
            "publisher_held": "The publisher''s part of it",
            "holds": "Number of holds",
            "first_expires_at": "When the first hold is released unless its ad is billed",
            "last_expires_at": "When the last hold is released unless its ad is billed",
        },
    ),
    "corrections": (
        CORRECTIONS,
        "Adjustments and reversals, with the role that booked them and the reason",
        {
            "entry_id": "Entry of the ledger",
            "booked_on": "Day of the entry",
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
            "publisher_id": "Publisher of the placement",
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
            "order_id": "Order; NULL for none",
            "advertiser_id": "Advertiser",
            "advertiser": "Name of the advertiser when it was booked",
            "campaign_id": "Campaign",
            "creative_id": "The campaign''s own creative; NULL for an upstream''s ad",
            "upstream_id": "Upstream; NULL for a creative of the campaign",
            "publisher_id": "Publisher of the placement",
            "publisher": "Name of the publisher when it was booked",
            "placement_id": "Placement; NULL if the request named the campaign, and for an adjustment",
            "day": DAY,
            "late_from": "Day to which it belongs, if it was booked to a later one",
            "kind": "charge, settle, flat, adjustment or reversal",
            "serve_id": "Request of the serve; NULL for an adjustment",
            "slot": "Position of the ad in its pod",
            "amount": "Amount added to what must be paid",
            "publisher_amount": "The publisher''s part of the amount",
            "house_amount": "The rest of the amount, which the house keeps",
            "currency": "Currency of the amount",
            "reason": "Reason of a manual entry",
        },
    ),
    "closed_months": (
        CLOSED_MONTHS,
        "Months that accept no more entries",
        {
            "month": "First day of the month",
            "closed_at": "When the month was closed",
            "closed_by": "Database role that closed the month",
            "entries": "Number of entries in the month",
            "hash": "SHA-256 of the entries, corrections and figures of the month; docs/finance.md has the formula",
            "previous_hash": "Hash of the month closed before this one",
            "archived": "Whether its entries were moved to an archive, which has the same hash in its manifest",
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
        WHERE d.recorded_on < (least(at, (SELECT rolled_up_to FROM books_state)) AT TIME ZONE 'UTC')::date
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
'Total spend of every campaign at a past moment, by the times at which the entries were booked'
"""


def upgrade() -> None:
    op.execute("CREATE SCHEMA finance")
    op.execute("COMMENT ON SCHEMA finance IS 'Views for finance whose columns are a contract, version 2.0'")
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
