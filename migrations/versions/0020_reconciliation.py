"""The view finance.reconciliation: every disagreement in the books.

Revision ID: 0020
Revises: 0019
"""

from alembic import op

from migrations.prices import flat_days

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

# The first day that is checked. Readers set it for their session or transaction; without it, everything is checked. The
# planner knows the value, and reads only the partitions since then.
SINCE = "coalesce(nullif(current_setting('adserver.reconcile_since', true), ''), '-infinity')::date"
SINCE_MOMENT = f"({SINCE}::timestamp AT TIME ZONE 'UTC')"
FIRST_KEPT_HOUR = """coalesce((
    SELECT dropped_before::timestamp AT TIME ZONE 'UTC' FROM public.retention WHERE parent = 'ad_serves'), '-infinity')"""
IS_PART = f"({SINCE} > '-infinity')"

# Every budget period, running or archived. A lifetime has begun before any day, and is always checked.
PERIODS = f"""(
    SELECT budget_id, campaign_id, order_id, period, period_start, "limit", impressions_limit, spent, held, impressions
    FROM public.budget_tracking WHERE period = 'lifetime' OR period_start >= {SINCE_MOMENT}
    UNION ALL
    SELECT campaign_id, campaign_id, NULL, period, period_start, "limit", impressions_limit, spent, 0, impressions
    FROM public.budget_archive WHERE period_start >= {SINCE_MOMENT}
)"""

# I1: CHECK constraints enforce the same; this finds what happened if one was dropped.
WITHIN_LIMITS = f"""
SELECT 'I1' AS rule, t.campaign_id, t.order_id, t.period || ' ' || t.period_start AS subject, l.expected, l.actual,
       l.explanation
FROM {PERIODS} AS t
CROSS JOIN LATERAL (VALUES
    (t."limit", t.spent + t.held, 'spent and held exceed the limit'),
    (t.impressions_limit, t.impressions, 'impressions exceed the limit')
) AS l (expected, actual, explanation)
WHERE l.actual > l.expected
"""

# I2: three counters of each period, against the entries, archived or not, and the open holds that count in it. If only a
# part is checked, a lifetime is compared with the daily sums, which the rule `rollup` compares with the entries. West of
# UTC, an entry of a period that begins on a UTC day may be booked on the day before.
COUNTERS = f"""
SELECT 'I2', coalesce(t.campaign_id, s.campaign_id), coalesce(t.order_id, s.order_id),
       coalesce(t.period, s.period) || ' ' || coalesce(t.period_start, s.period_start), n.expected, n.actual,
       CASE WHEN t.budget_id IS NULL THEN 'there is no counter for what was booked'
            ELSE n.counter || ' is not the sum of its ' || n.source END
FROM (
    SELECT campaign_id, order_id, period, period_start, sum(spent) AS spent, sum(held) AS held, sum(ads) AS ads
    FROM (
        SELECT p.campaign_id, p.order_id, p.period, p.period_start, e.spent, e.held, e.ads
        FROM (
            SELECT campaign_id, order_id, hour_start, day_start, sum(amount) AS spent, 0 AS held,
                   count(*) FILTER (WHERE kind IN ('charge', 'settle')) AS ads
            FROM public.spend_ledger WHERE NOT {IS_PART}
            GROUP BY campaign_id, order_id, hour_start, day_start
            UNION ALL
            SELECT campaign_id, order_id, hour_start, day_start, 0, sum(price), count(*)
            FROM public.holds GROUP BY campaign_id, order_id, hour_start, day_start
        ) AS e
        CROSS JOIN LATERAL (VALUES
            (e.campaign_id, NULL, 'hour', e.hour_start), (e.campaign_id, NULL, 'day', e.day_start),
            (e.campaign_id, NULL, 'lifetime', to_timestamp(0)), (NULL, e.order_id, 'lifetime', to_timestamp(0))
        ) AS p (campaign_id, order_id, period, period_start)
        WHERE num_nonnulls(p.campaign_id, p.order_id) = 1
            AND (p.period = 'lifetime' OR p.period_start >= {SINCE_MOMENT})
        UNION ALL
        SELECT campaign_id, order_id, period, period_start, amount, 0, ads FROM public.opening_balances
        WHERE (period = 'lifetime' AND NOT {IS_PART}) OR (period <> 'lifetime' AND period_start >= {SINCE_MOMENT})
        UNION ALL
        SELECT p.campaign_id, NULL, p.period, p.period_start, sum(e.amount), 0,
               count(*) FILTER (WHERE e.kind IN ('charge', 'settle'))
        FROM public.spend_ledger e CROSS JOIN LATERAL (VALUES
            (e.campaign_id, 'hour', e.hour_start), (e.campaign_id, 'day', e.day_start)
        ) AS p (campaign_id, period, period_start)
        WHERE {IS_PART} AND e.booked_on >= {SINCE} - 1 AND p.period_start >= {SINCE_MOMENT}
        GROUP BY p.campaign_id, p.period, p.period_start
        UNION ALL
        SELECT p.campaign_id, p.order_id, 'lifetime', to_timestamp(0), sum(d.amount), 0,
               coalesce(sum(d.ads) FILTER (WHERE d.kind IN ('charge', 'settle')), 0)
        FROM (
            SELECT campaign_id, order_id, kind, amount, ads FROM public.spend_daily
            UNION ALL
            SELECT campaign_id, order_id, kind, amount, 1 FROM public.spend_ledger
            WHERE booked_at >= (SELECT rolled_up_to FROM public.books_state)
        ) AS d CROSS JOIN LATERAL (VALUES (d.campaign_id, NULL), (NULL, d.order_id)) AS p (campaign_id, order_id)
        WHERE {IS_PART} AND num_nonnulls(p.campaign_id, p.order_id) = 1
        GROUP BY p.campaign_id, p.order_id
    ) AS counted
    GROUP BY campaign_id, order_id, period, period_start
) AS s
FULL JOIN {PERIODS} AS t
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

# I3: each serve and its charge, hold or release cancel out. No beacon counts for as long as eight days, so the serves of
# eight days before the first day are read as well, to find those of later charges.
SERVES = f"""
SELECT 'I3', campaign_id, NULL, request_key || '/' || slot, sum(served), sum(paid), CASE
    WHEN sum(paid) = 0 THEN 'a serve of ' || price || ' ' || currency || ' was neither charged, held nor released'
    WHEN sum(served) = 0 THEN price || ' ' || currency || ' was charged, held or released, and not served'
    ELSE 'a serve of ' || price || ' ' || currency || ' was charged, held or released more than once' END
FROM (
    SELECT request_key, slot, campaign_id, currency, price, billing = 'serve' AS at_once, 1 AS served, 0 AS paid,
           served_on AS day
    FROM public.ad_serves WHERE served_on >= {SINCE} - 8
    UNION ALL
    SELECT request_key, slot, campaign_id, currency, amount, kind = 'charge', 0, 1,
           (booked_at AT TIME ZONE 'UTC')::date - 8
    FROM (
        SELECT request_key, slot, campaign_id, currency, amount, kind, booked_at
        FROM public.spend_ledger
        WHERE kind IN ('charge', 'settle') AND booked_on >= {SINCE} - 1 AND booked_at >= {SINCE_MOMENT}
        UNION ALL
        SELECT request_key, slot, campaign_id, currency, amount, kind, booked_at FROM public.archived_charges
        WHERE booked_at >= {SINCE_MOMENT}
    ) AS charged
    UNION ALL
    SELECT request_key, slot, campaign_id, currency, price, false, 0, 1, served_on FROM public.holds
    WHERE served_on >= {SINCE}
    UNION ALL
    SELECT request_key, slot, campaign_id, currency, price, false, 0, 1, served_on FROM public.hold_releases
    WHERE served_on >= {SINCE} AND entry_id IS NULL
) AS both_sides
GROUP BY request_key, slot, campaign_id, currency, price, at_once
HAVING sum(served) <> sum(paid) AND CASE
    WHEN sum(served) > 0 THEN sum(paid) > sum(served) OR max(day) FILTER (WHERE served = 1) >= {SINCE}
    ELSE max(day) >= coalesce((SELECT dropped_before FROM public.retention WHERE parent = 'ad_serves'), '-infinity') END
"""

# The transaction that settles a hold also records the event. A request that is repeated after a day has two serves.
SETTLING_EVENTS = f"""
SELECT 'I3', l.campaign_id, l.order_id, l.request_key || '/' || l.slot, 1, 0,
       'an ad was charged, and the ' || s.billing || ' event is missing'
FROM public.spend_ledger l JOIN public.ad_serves s USING (request_key, slot, campaign_id)
WHERE l.kind = 'settle' AND s.billing <> 'serve' AND s.served_at <= l.booked_at
    AND s.served_on >= {SINCE} AND l.booked_on >= {SINCE} - 1 AND NOT EXISTS (
        SELECT FROM public.ad_events e WHERE e.request_key = s.request_key AND e.slot = s.slot AND e.event = s.billing
            AND e.served_on >= {SINCE} - 8 AND coalesce(e.entry_id, l.entry_id) = l.entry_id)
    AND s.served_on >= coalesce((SELECT dropped_before FROM public.retention WHERE parent = 'ad_events'), '-infinity')
"""

# The ads of an answer are numbered without gaps.
SLOT_GAPS = f"""
SELECT 'I3', a.campaign_id, NULL, 'request ' || a.request_key, a.slot - 1, NULL,
       'a pod has a gap: a serve of the request is missing'
FROM public.ad_serves a
WHERE a.slot > 0 AND a.served_on >= {SINCE} AND NOT EXISTS (
    SELECT FROM public.ad_serves b
    WHERE b.request_key = a.request_key AND b.slot = a.slot - 1 AND b.served_on = a.served_on AND b.served_on >= {SINCE}
)
"""

IS_NOT_ARCHIVED = """
    NOT EXISTS (SELECT FROM public.archived_months m WHERE m.month = date_trunc('month', booked_on::timestamp)::date)
"""

DAILY_SUMS = f"""
SELECT 'rollup', coalesce(r.campaign_id, l.campaign_id), coalesce(r.order_id, l.order_id),
       coalesce(r.booked_on, l.booked_on) || ' ' || coalesce(r.kind, l.kind) || ' recorded '
           || coalesce(r.recorded_on, l.recorded_on),
       coalesce(l.amount, 0), coalesce(r.amount, 0), 'the daily rollup is not the sum of its ledger entries'
FROM (SELECT * FROM public.spend_daily WHERE recorded_on >= {SINCE} AND {IS_NOT_ARCHIVED}) AS r
FULL JOIN (
    SELECT booked_on, (booked_at AT TIME ZONE 'UTC')::date AS recorded_on, order_id, advertiser_id, advertiser_name,
           campaign_id, publisher_id, publisher_name, currency, kind, sum(amount) AS amount,
           sum(publisher_amount) AS publisher_amount, count(*) AS entries, count(request_key) AS ads
    FROM public.spend_ledger
    WHERE booked_at >= {SINCE_MOMENT} AND booked_at < (SELECT rolled_up_to FROM public.books_state)
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
) AS l ON (l.booked_on, l.recorded_on, l.advertiser_id, l.advertiser_name, l.campaign_id, l.currency, l.kind)
        = (r.booked_on, r.recorded_on, r.advertiser_id, r.advertiser_name, r.campaign_id, r.currency, r.kind)
    AND coalesce(l.order_id, '') = coalesce(r.order_id, '')
    AND coalesce(l.publisher_id, '') = coalesce(r.publisher_id, '')
    AND coalesce(l.publisher_name, '') = coalesce(r.publisher_name, '')
WHERE (l.amount, l.publisher_amount, l.entries, l.ads)
    IS DISTINCT FROM (r.amount, r.publisher_amount, r.entries, r.ads)
"""

# The daily sums of an archived month have no entries to compare them with: they must be what they were.
ARCHIVED_SUMS = f"""
SELECT 'rollup', NULL, NULL, to_char(m.month, 'YYYY-MM'), NULL, NULL,
       'the daily sums of an archived month have changed'
FROM public.archived_months m WHERE m.daily_hash <> (
    SELECT sha256(convert_to(coalesce(string_agg(jsonb_build_array(
        booked_on, recorded_on, order_id, advertiser_id, advertiser_name, campaign_id, publisher_id, publisher_name,
        currency, kind, amount, publisher_amount, entries, ads)::text, E'\\n' ORDER BY jsonb_build_array(
        booked_on, recorded_on, order_id, advertiser_id, advertiser_name, campaign_id, publisher_id, publisher_name,
        currency, kind)::text COLLATE "C"), ''), 'UTF8'))
    FROM public.spend_daily WHERE booked_on >= m.month AND booked_on < m.month + interval '1 month')
UNION ALL
SELECT 'I2', s.campaign_id, s.order_id, 'opening balance', s.amount, o.amount,
       'the opening balance is not the sum of the daily sums of archived months'
FROM (
    SELECT p.campaign_id, p.order_id, sum(d.amount) AS amount
    FROM public.spend_daily d CROSS JOIN LATERAL (VALUES (d.campaign_id, NULL), (NULL, d.order_id))
        AS p (campaign_id, order_id)
    WHERE num_nonnulls(p.campaign_id, p.order_id) = 1 AND NOT {IS_NOT_ARCHIVED}
    GROUP BY p.campaign_id, p.order_id
) AS s
FULL JOIN (
    SELECT campaign_id, order_id, sum(amount) AS amount
    FROM public.opening_balances WHERE period = 'lifetime' GROUP BY campaign_id, order_id
) AS o ON (coalesce(o.campaign_id, ''), coalesce(o.order_id, '')) = (coalesce(s.campaign_id, ''), coalesce(s.order_id, ''))
WHERE s.amount IS DISTINCT FROM o.amount
"""

# A CHECK constraint enforces the same; this finds what happened if it was dropped.
SPLIT_AMOUNTS = f"""
SELECT 'split', campaign_id, order_id, 'entry ' || entry_id, amount, publisher_amount + house_amount,
       'the parts of publisher and house are not the amount'
FROM public.spend_ledger WHERE amount <> publisher_amount + house_amount AND booked_at >= {SINCE_MOMENT}
"""

MANUAL_ENTRIES = f"""
SELECT 'correction', coalesce(k.campaign_id, l.campaign_id), NULL, 'entry ' || coalesce(k.entry_id, l.entry_id),
       k.amount, l.amount, 'the manual entry and the record of who booked it differ'
FROM (
    SELECT * FROM public.ledger_corrections
    WHERE {IS_NOT_ARCHIVED} AND recorded_at >= {SINCE_MOMENT} - interval '1 day'
) AS k
FULL JOIN (
    SELECT entry_id, booked_on, booked_at, kind, campaign_id, amount, currency FROM public.spend_ledger
    WHERE kind IN ('adjustment', 'reversal') AND booked_at >= {SINCE_MOMENT} - interval '1 day'
) AS l USING (entry_id, booked_on)
WHERE coalesce(l.booked_at, k.recorded_at) >= {SINCE_MOMENT} AND (k.kind, k.campaign_id, k.amount, k.currency) IS DISTINCT FROM (l.kind, l.campaign_id, l.amount, l.currency)
"""

CORRECTION_SETS = """
SELECT 'correction', NULL, NULL, 'set ' || s.idempotency_key, s.entries, count(e.position),
       'the set does not have the number of entries that it was recorded with'
FROM public.correction_sets s LEFT JOIN public.correction_set_entries e USING (idempotency_key)
GROUP BY s.idempotency_key HAVING count(e.position) <> s.entries
"""

# A reversal takes back the whole of its entry, from the same parties.
REVERSALS = f"""
SELECT 'split', r.campaign_id, r.order_id, 'entry ' || r.entry_id, -e.publisher_amount, r.publisher_amount,
       'the reversal is not split as entry ' || e.entry_id || ' was'
FROM public.ledger_corrections k
JOIN public.spend_ledger r ON r.entry_id = k.entry_id AND r.booked_on = k.booked_on
JOIN public.spend_ledger e ON e.entry_id = k.reverses AND e.booked_on = k.reverses_booked_on
WHERE k.recorded_at >= {SINCE_MOMENT} AND (r.amount, r.publisher_amount, r.order_id, r.publisher_id)
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

# spend_daily and the entries that it does not include yet: rule 'rollup' proves that it is the sum of its entries.
INVOICES = """
SELECT 'invoice', NULL, i.order_id, 'advertiser ' || i.advertiser_id || ', ' || to_char(i.month, 'YYYY-MM') || ', ' || i.currency,
       coalesce(l.amount, 0), i.amount, 'the invoices are not the sum of the entries of the month'
FROM (
    SELECT month, advertiser_id, order_id, currency, sum(total_exact) AS amount FROM public.invoices
    GROUP BY month, advertiser_id, order_id, currency
) AS i
LEFT JOIN (
    SELECT date_trunc('month', booked_on)::date AS month, advertiser_id, order_id, currency, sum(amount) AS amount
    FROM (
        SELECT booked_on, advertiser_id, order_id, currency, amount FROM public.spend_daily
        UNION ALL
        SELECT booked_on, advertiser_id, order_id, currency, amount FROM public.spend_ledger
        WHERE booked_at >= (SELECT rolled_up_to FROM public.books_state)
    ) AS booked
    GROUP BY 1, 2, 3, 4
) AS l ON (l.month, l.advertiser_id, l.currency) = (i.month, i.advertiser_id, i.currency)
    AND coalesce(l.order_id, '') = coalesce(i.order_id, '')
WHERE i.amount <> coalesce(l.amount, 0)
UNION ALL
SELECT 'invoice', NULL, i.order_id, 'invoice ' || i.number, coalesce(d.amount, 0), i.total_exact,
       'the exact total is not the sum of the lines'
FROM public.invoices i
LEFT JOIN (SELECT number, sum(amount) AS amount FROM public.invoice_details GROUP BY number) AS d USING (number)
WHERE i.total_exact <> coalesce(d.amount, 0)
UNION ALL
SELECT 'invoice', NULL, NULL, 'invoice numbers', n.expected, n.actual, 'the numbers have holes'
FROM (
    SELECT c.last_number AS expected, count(i.number) AS actual, coalesce(max(i.number), 0) AS last
    FROM public.invoice_counter c LEFT JOIN public.invoices i ON true GROUP BY c.last_number
) AS n
WHERE n.expected <> n.actual OR n.last <> n.expected
"""

# The hours that are rolled up and whose serves are kept. Corrections of an archived month are older than its closing.
BEFORE_MARK = "< (SELECT rolled_up_to FROM public.delivery_state)"
PLACE = "campaign_id, creative_id, placement_id, publisher_id, country, device_type"
DELIVERY = f"""
SELECT 'delivery', campaign_id, NULL, hour || ' serves', sum(expected), sum(actual),
       'the number of ads in the hour is not that of their serves'
FROM (
    SELECT date_trunc('hour', served_at, 'UTC') AS hour, {PLACE}, count(*) AS expected, 0 AS actual
    FROM public.ad_serves WHERE served_on >= {SINCE} AND served_at {BEFORE_MARK} GROUP BY hour, {PLACE}
    UNION ALL
    SELECT hour, {PLACE}, 0, serves FROM public.delivery_hourly WHERE hour >= {SINCE_MOMENT}
) AS both_sides
WHERE hour >= {FIRST_KEPT_HOUR} GROUP BY hour, {PLACE} HAVING sum(expected) <> sum(actual)
UNION ALL
SELECT 'delivery', campaign_id, NULL, hour || ' ' || amount, sum(expected), sum(actual),
       'the amount ' || amount || ' in the hour is not that of the ledger'
FROM (
    SELECT date_trunc('hour', booked_at, 'UTC') AS hour, campaign_id, amount AS expected, 0 AS actual,
           CASE WHEN kind IN ('charge', 'settle') THEN 'charged' ELSE 'corrected' END AS amount
    FROM (SELECT booked_at, campaign_id, kind, amount FROM public.spend_ledger
          UNION ALL SELECT booked_at, campaign_id, kind, amount FROM public.archived_charges) AS booked
    WHERE kind <> 'flat' AND booked_at >= {SINCE_MOMENT} AND booked_at {BEFORE_MARK}
    UNION ALL
    SELECT d.hour, d.campaign_id, 0, n.actual, n.amount FROM public.delivery_hourly d
    CROSS JOIN LATERAL (VALUES ('charged', d.charged), ('corrected', d.corrected)) AS n (amount, actual)
    WHERE d.hour >= {SINCE_MOMENT}
) AS both_sides
WHERE hour >= {FIRST_KEPT_HOUR} AND (amount = 'charged' OR hour > coalesce((
    SELECT max(c.closed_at) FROM public.archived_months JOIN public.closed_months c USING (month)), '-infinity'))
GROUP BY hour, campaign_id, amount HAVING sum(expected) <> sum(actual)
"""

RECONCILIATION = " UNION ALL ".join(
    (
        WITHIN_LIMITS,
        COUNTERS,
        SERVES,
        SETTLING_EVENTS,
        SLOT_GAPS,
        DAILY_SUMS,
        ARCHIVED_SUMS,
        MANUAL_ENTRIES,
        CORRECTION_SETS,
        SPLIT_AMOUNTS,
        REVERSALS,
        PREPAID_ORDERS,
        ORDER_LIMITS,
        INVOICES,
        DELIVERY,
        flat_days(SINCE_MOMENT, IS_NOT_ARCHIVED),
    )
)

COLUMNS = {
    "rule": "I1 budgets, I2 counters, I3 serves, rollup, correction, split, order, invoice, delivery, or flat",
    "campaign_id": "Campaign; NULL for the budget of an order, and for an invoice",
    "order_id": "Order; NULL for none",
    "subject": "The budget period, serve, rollup or entry",
    "expected": "Value that it should have",
    "actual": "Value that it has",
    "explanation": "Description of the disagreement",
}

COMMENT = """
COMMENT ON VIEW finance.reconciliation IS
'Every disagreement in the books; no rows if the books agree. WHERE rule = ... runs that check alone; '
'SET adserver.reconcile_since = ''2026-11-01'' checks what has happened since that day'
"""


def upgrade() -> None:
    op.execute(f"CREATE VIEW finance.reconciliation AS {RECONCILIATION}")
    op.execute(COMMENT)
    for column, comment in COLUMNS.items():
        op.execute(f"COMMENT ON COLUMN finance.reconciliation.{column} IS '{comment}'")
    op.execute("GRANT SELECT ON finance.reconciliation TO adserver_finance, adserver_app")


def downgrade() -> None:
    op.execute("DROP VIEW finance.reconciliation")
