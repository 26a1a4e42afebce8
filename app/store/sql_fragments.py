"""Fragments of SQL that several statements share."""

CHARGED_BUDGETS = "b.budget_id = ANY (ARRAY[c.id, ' order ' || c.order_id])"
"""Condition: the configured budget `b` is one that an ad of campaign `c` charges, its own or its order's."""

APPLIED_CAPS = """(
        SELECT c.id AS campaign_id, w.level, w.counter, w."window", min(w.impressions) AS cap,
               max(w.counts_from) AS counts_from,
               CASE WHEN w.level IN ('campaign', 'creative') THEN c.timezone ELSE 'UTC' END AS timezone
        FROM campaigns c JOIN campaign_caps w
            ON w.counter = ANY (ARRAY[c.id, ' order ' || c.order_id, ' advertiser ' || c.advertiser_id])
        GROUP BY c.id, w.level, w.counter, w."window"
    )"""
"""The caps that apply to each campaign: its own, and the lowest ones that any campaign of its order or advertiser sets.

The campaigns of an order may have several timezones, so the days of its caps are those of UTC."""

APPLIED_WINDOWS = f"""applied AS MATERIALIZED (
    SELECT a.*, cap_window_start(a."window", adserver_clock(), a.timezone) AS window_start
    FROM {APPLIED_CAPS} AS a WHERE a.campaign_id = ANY ($1)
)"""
"""A CTE of the caps that apply to the campaigns $1, with the beginning of the current window of each."""

ORDER_LIMIT = """CASE WHEN o.prepaid THEN least(o.budget, (
    SELECT coalesce(sum(amount), 0) FROM order_credits WHERE order_id = o.id)) ELSE o.budget END"""
"""The amount that the campaigns of order `o` may spend: its budget, and if it is prepaid, at most what was credited."""

NEWEST_BUDGET_ROW = """
    WHERE t.budget_id || '/' || t.period = budget_period.budget_id || '/' || budget_period.period
        AND greatest(t.period_start, to_timestamp(0)) = budget_period.period_start
    ORDER BY t.generation DESC LIMIT 1
"""
"""The newest row `t` of budget_tracking for one `budget_period`.

It reads the newest generation first, because any long-running query keeps all versions of a row alive, and there may be
thousands. Only the index budget_tracking_by_generation has these expressions, so no plan can use the primary key, which
leads to all versions."""

LOCK_NEWEST_ROW = f"""
    SELECT t.ctid AS row_ctid FROM budget_tracking t
    {NEWEST_BUDGET_ROW}
    FOR UPDATE
"""
"""A query that locks the row of one `budget_period` and returns its ctid, which stays valid until this transaction
changes the row."""

LOCK_BUDGET_PERIODS = f"""
SELECT newest.row_ctid FROM budget_period CROSS JOIN LATERAL ({LOCK_NEWEST_ROW}) AS newest
"""
"""Lock the rows of the CTE `budget_period` in its order, and return their ctids."""

TABLE_WRITE_LOCK = """table_lock AS (
    UPDATE budget_tracking SET spent = spent WHERE false
)"""
"""A CTE that takes the table lock of a writer on budget_tracking without changing a row.

A change of budgets takes a conflicting table lock. It therefore cannot run between this statement and the next one."""

NEXT_GENERATION = "t.generation + (random() < 0.03)::integer"
"""The generation of a changed row `t` of budget_tracking: about every 30th change begins a new one."""

ALLOWED_LIMITS = """
CROSS JOIN LATERAL (
    SELECT least(t."limit", b."limit") AS "limit", least(t.impressions_limit, b.impressions_limit) AS impressions
) AS allowed
"""
"""The limits that apply to the row `t` of a budget with the definition `b`: the lower one of each kind.

After a limit was lowered, the row's own limit may be higher, because it cannot be below the amount already used."""

STATUS_REFUSALS = """WHEN c.status <> 'active' THEN 'paused'
        WHEN adserver_clock() < c.starts_at OR adserver_clock() >= c.ends_at THEN 'flight'"""
"""Branches of a CASE: the reasons for which campaign `c` may not serve at all."""


def paced_limit(limit: str, pacing: str = "c.pacing") -> str:
    """Return SQL for the part of a limit of campaign `c` that pacing allows by now in the period of `t`."""
    return (
        f"budget_pace({limit}, t.period, t.period_start, {pacing}, c.front_percent, c.starts_at, c.ends_at, c.timezone)"
    )


BUDGET_PACING = "CASE WHEN b.order_id IS NULL THEN c.pacing ELSE 'asap' END"
"""The pacing of budget `b`: only a campaign's own budgets are paced, an order's may be spent as soon as possible."""


def _room(amount: str, impressions: str) -> str:
    """Return SQL for the number of further ads of campaign `c` that fit below both limits; NULL without a limit.

    Free ads count with a tiny price, so that an amount limits them only when nothing of it is left.
    """
    return f"""least(div({amount} - t.used, greatest(c.unit_price, 1e-15)), {impressions} - t.impressions)"""


ROOM_IN_BUDGET = _room('allowed."limit"', "allowed.impressions")
"""The number of further ads of campaign `c` that fit in the budget of `t` and `b`; `t.used` is spent plus held."""


def room_by_pacing(pacing: str = "c.pacing") -> str:
    """Return SQL for the number of those ads that this pacing allows by now."""
    impressions = paced_limit("allowed.impressions", pacing)
    return _room(
        paced_limit('allowed."limit"', pacing),
        f"CASE WHEN allowed.impressions IS NOT NULL THEN floor({impressions}) END",
    )


SERVE_COLUMNS = """order_id, advertiser_id, advertiser_name, campaign_id, creative_id, upstream_id, publisher_id,
                              publisher_name, placement_id, request_key, slot"""
"""The columns of a hold or a ledger entry that tell which ad it is for, who pays and who earns."""

BOOKS_CALENDAR = """LEFT JOIN (
        SELECT (month + interval '1 month')::date AS first_open_day FROM closed_months ORDER BY month DESC LIMIT 1
    ) AS books ON true"""
"""A join of the first day that is in no closed month, to which money of an earlier day is booked; NULL if none is."""


NEW_ENTRY_ID = "nextval('spend_ledger_entry_id_seq')"
"""The number of a new ledger entry."""


def book_entries(kind: str) -> str:
    """Return the beginning of a statement that books one ledger entry of this kind for each row that follows.

    A row has the columns of a hold, `entry_id`, and `late_from`, the day to which it belongs if it is booked to a
    later one.
    """
    return f"""INSERT INTO spend_ledger (entry_id, booked_at, booked_on, late_from, kind, {SERVE_COLUMNS},
                              amount, publisher_amount, house_amount, currency, hour_start, day_start)
    OVERRIDING SYSTEM VALUE
    SELECT entry_id, adserver_clock(), booked_on, late_from, '{kind}', {SERVE_COLUMNS},
           price, publisher_amount, price - publisher_amount, currency, hour_start, day_start"""
