"""A lifetime budget that is added to a running campaign is counted from the rollups.

Revision ID: 0013
Revises: 0012
"""

from alembic import context, op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# Nobody is charged while this counts. The whole ledger took seconds to read, and the rollups take milliseconds; what
# was booked in the running hour or day the ledger's index finds.
RECOUNT_BUDGETS = """
CREATE OR REPLACE FUNCTION recount_budgets(campaign_ids text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
BEGIN
    LOCK TABLE budget_tracking IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM budget_tracking t USING campaigns c
    WHERE c.id = ANY (campaign_ids) AND t.campaign_id = c.id
        AND t.period_start = window_start(t.period, adserver_clock(), c.timezone)
        AND NOT EXISTS (SELECT FROM campaign_budgets b WHERE b.campaign_id = t.campaign_id AND b.period = t.period);
    WITH missing AS MATERIALIZED (
        SELECT n.*, CASE n.period WHEN 'lifetime' THEN s.rolled_up_to ELSE n.period_start END AS since
        FROM (
            SELECT b.campaign_id, b.period, b."limit", window_start(b.period, adserver_clock(), c.timezone) AS period_start
            FROM campaign_budgets b JOIN campaigns c ON c.id = b.campaign_id WHERE c.id = ANY (campaign_ids)
        ) AS n CROSS JOIN books_state s
        WHERE NOT EXISTS (SELECT FROM budget_tracking t WHERE t.campaign_id = n.campaign_id AND t.period = n.period
                              AND t.period_start = n.period_start)
    ), booked AS (
        SELECT m.campaign_id, m.period, d.kind, d.amount, d.entries
        FROM missing m JOIN spend_daily d ON d.campaign_id = m.campaign_id
        WHERE m.period = 'lifetime'
        UNION ALL
        SELECT m.campaign_id, m.period, l.kind, l.amount, 1
        FROM missing m CROSS JOIN LATERAL (
            SELECT kind, amount FROM spend_ledger
            WHERE campaign_id = m.campaign_id AND booked_at >= m.since
                AND m.period_start = CASE m.period WHEN 'hour' THEN hour_start WHEN 'day' THEN day_start
                                                   ELSE to_timestamp(0) END
            OFFSET 0 -- Asked for each budget by itself: a join of both would read the whole ledger.
        ) AS l
    ), spent AS (
        SELECT campaign_id, period, sum(amount) AS amount,
               sum(entries) FILTER (WHERE kind IN ('charge', 'settle')) AS ads
        FROM booked GROUP BY campaign_id, period
    ), counted AS (
        SELECT m.campaign_id, m.period, m.period_start, m."limit", coalesce(s.amount, 0) AS spent, open.held,
               coalesce(s.ads, 0) + open.ads AS ads
        FROM missing m LEFT JOIN spent s USING (campaign_id, period)
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(h.price), 0) AS held, count(*) AS ads
            FROM holds h
            WHERE h.campaign_id = m.campaign_id
                AND m.period_start = CASE m.period WHEN 'hour' THEN h.hour_start WHEN 'day' THEN h.day_start
                                                   ELSE to_timestamp(0) END
        ) AS open
    )
    INSERT INTO budget_tracking (campaign_id, period, period_start, "limit", spent, held, impressions)
    SELECT campaign_id, period, period_start, greatest("limit", spent + held), spent, held, ads
    FROM counted ORDER BY campaign_id, period
    ON CONFLICT DO NOTHING;
END
$$
"""


def upgrade() -> None:
    op.execute(RECOUNT_BUDGETS)


def downgrade() -> None:
    before: str = context.script.get_revision("0005").module.RECOUNT_BUDGETS
    op.execute(before.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
