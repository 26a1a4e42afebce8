"""Find every disagreement between counters, serves, caps, rollups and the ledger; it only reads."""

from dataclasses import dataclass
from datetime import date

from asyncpg import Connection, Record

from app.store.sql_fragments import APPLIED_CAPS

READ_RECONCILIATION = """
SELECT coalesce(campaign_id, 'order ' || order_id, '-') AS campaign_id, subject, expected, actual, explanation
FROM finance.reconciliation
WHERE rule = $1 ORDER BY 1, subject LIMIT $2
"""
"""Read the disagreements with one rule from the finance view."""

FIND_WRONG_CAP_COUNTS = f"""
WITH served AS (
    SELECT CASE w.level WHEN 'creative' THEN ' creative ' || a.creative_id ELSE w.counter END AS campaign_id,
           w.timezone, w."window", CASE w."window" WHEN 'session' THEN a.session_id ELSE a.user_key END AS user_key,
           cap_window_start(w."window", a.served_at, w.timezone) AS window_start, a.served_at,
           a.served_at > w.counts_from + interval '1 minute' AS is_certain
    FROM ad_serves a JOIN {APPLIED_CAPS} AS w ON w.campaign_id = a.campaign_id
    WHERE a.served_on >= $2 AND (w.level <> 'creative' OR a.creative_id IS NOT NULL)
), seen AS (
    SELECT campaign_id, timezone, "window", user_key, window_start, count(*) AS ads,
           count(*) FILTER (WHERE is_certain) AS certain_ads, min(served_at) AS first_at
    FROM served WHERE user_key IS NOT NULL AND window_start >= $2::timestamp AT TIME ZONE 'UTC'
    GROUP BY campaign_id, timezone, "window", user_key, window_start
), counted AS (
    SELECT f.*, w.counts_from FROM frequency_caps f LEFT JOIN creatives r ON f.campaign_id = ' creative ' || r.id
    JOIN (
        SELECT counter, level = 'creative' AS is_by_creative, "window", max(counts_from) AS counts_from
        FROM campaign_caps GROUP BY 1, 2, 3
    ) AS w
        ON w.counter = coalesce(r.campaign_id, f.campaign_id) AND w.is_by_creative = (r.id IS NOT NULL)
            AND w."window" = f."window"
    WHERE f.window_start >= $2::timestamp AT TIME ZONE 'UTC'
), dropped AS (
    SELECT coalesce(max(dropped_before), '-infinity')::timestamp AT TIME ZONE 'UTC' AS dropped_before
    FROM retention WHERE parent = 'ad_serves'
)
SELECT coalesce(s.campaign_id, f.campaign_id) AS campaign_id,
       coalesce(s."window", f."window") || ' ' || coalesce(s.window_start, f.window_start) || ' of '
           || coalesce(s.user_key, f.user_key) AS subject,
       s.ads AS expected, f.count AS actual, CASE
           WHEN f.count > f.cap THEN 'more ads were counted than the cap allows'
           WHEN f.user_key IS NULL THEN 'the user was served ads, but there is no count'
           WHEN coalesce(s.certain_ads, 0) > f.count THEN 'the user was served more ads than were counted'
           ELSE 'more ads were counted than the user was served'
       END AS explanation
FROM seen s FULL JOIN counted f USING (campaign_id, "window", user_key, window_start)
CROSS JOIN dropped
WHERE f.count > f.cap
    OR (f.user_key IS NOT NULL AND coalesce(s.certain_ads, 0) > f.count)
    OR (f.user_key IS NOT NULL AND f.count > coalesce(s.ads, 0) AND f.window_start >= dropped.dropped_before
        AND (f.campaign_id NOT LIKE ' %' OR f.window_start >= f.counts_from))
    OR (f.user_key IS NULL AND s.certain_ads > 0 AND adserver_clock() < coalesce(
        cap_window_end(s."window", s.window_start, s.timezone),
        CASE s."window" WHEN 'session' THEN s.first_at + interval '1 day' ELSE 'infinity' END))
ORDER BY 1, 2 LIMIT $1
"""
"""Find the counts that do not match the serves of their user, campaign and window (rule I5), of windows since $2.

A cap that was created within a window has counted only the later serves, retention may have dropped some counted serves
of a long window, and campaigns may have left an order. All of this is allowed for."""

CHECK_SINCE = "SELECT set_config('adserver.reconcile_since', $1::date::text, true)"
"""Let finance.reconciliation check only what has happened since a day, until the transaction ends."""

CHECK_CAPS_READABLE = "SELECT has_table_privilege('public.frequency_caps', 'SELECT')"
"""Check whether this role may read the counts of viewers."""

COUNT_WRONG_BUDGETS = """
SELECT count(*) FROM budget_tracking t
LEFT JOIN (
    SELECT campaign_id AS budget_id, spent, held FROM finance.campaign_spend
    UNION ALL
    SELECT ' order ' || order_id, booked, held FROM finance.orders
) AS s USING (budget_id)
WHERE t.spent + t.held > t."limit" OR t.impressions > t.impressions_limit
    OR (t.period = 'lifetime' AND (t.spent, t.held) IS DISTINCT FROM (s.spent, s.held))
"""
"""Count the exceeded budgets, and the lifetime counters that differ from the sums of the rollups, the newest entries
and the open holds. It does not read the whole ledger."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Two values in the database that must be equal and are not."""

    rule: str
    campaign_id: str
    subject: str
    expected: str
    actual: str
    explanation: str


RULES = {
    "I1": "spent and held are within every budget",
    "I2": "counters are the sums of the ledger and the open holds",
    "I3": "every serve was charged, held or released exactly once",
    "I5": "no user saw more than a cap allows, and every count is right",
    "rollup": "daily rollups are the sums of the ledger",
    "correction": "every manual entry is recorded as a correction",
    "split": "every amount is the publisher's part and the house's, in reversals too",
    "order": "limits of orders are their budgets and credits, and prepaid orders spend no more than was credited",
    "invoice": "invoices are the sums of their month's entries, and their numbers have no holes",
    "flat": "each day of a flat price is booked once, and its entries are the part of the price that it has",
    "delivery": "hourly sums of delivery are the serves and the ledger of their hour",
}
"""The rules in the order in which they are checked; I1 to I5 are numbers of invariants."""


async def check_since(connection: "Connection[Record]", since: date) -> None:
    """Let `find_disagreements` check only what has happened since this UTC day, until the transaction ends."""
    await connection.execute(CHECK_SINCE, since)


async def may_check(connection: "Connection[Record]", rule: str) -> bool:
    """Return whether the role may read what the rule compares; finance may not read the counts of viewers."""
    return rule != "I5" or bool(await connection.fetchval(CHECK_CAPS_READABLE))


async def find_disagreements(
    connection: "Connection[Record]", rule: str, limit: int, since: date = date.min
) -> list[Disagreement]:
    """Return at most `limit` disagreements with one of RULES, in what has happened since a UTC day."""
    rows = (
        await connection.fetch(FIND_WRONG_CAP_COUNTS, limit, since)
        if rule == "I5"
        else await connection.fetch(READ_RECONCILIATION, rule, limit)
    )
    return [
        Disagreement(
            rule, row["campaign_id"], row["subject"], str(row["expected"]), str(row["actual"]), row["explanation"]
        )
        for row in rows
    ]


async def count_wrong_budgets(connection: "Connection[Record]") -> int:
    """Return the number of budget periods that a quick check finds wrong; it is meant for alerts and is not a proof."""
    count: int = await connection.fetchval(COUNT_WRONG_BUDGETS)
    return count
