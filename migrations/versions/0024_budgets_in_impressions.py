"""Budgets limit impressions beside money, and each figure of a budget is computed in one place.

Revision ID: 0024
Revises: 0023
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

LIMIT = "What may be spent in {}, in the campaign's currency; NULL for no limit"
IMPRESSIONS_LIMIT = "How many ads may be served in {}; NULL for no limit"

# A server of before serves no ad of a budget without money: its guard does not count NULL as room.
MAY_BE_WITHOUT_MONEY = """
-- squawk-ignore ban-drop-not-null
ALTER TABLE {table} ALTER COLUMN "limit" DROP NOT NULL
"""

# Revision 0025 validates these, under a lock that holds up nobody.
WITHIN_BUDGET = """
ALTER TABLE budget_tracking ADD CONSTRAINT impressions_within_budget
CHECK (impressions <= impressions_limit) NOT VALID
"""

BUDGET_RULES = """
ALTER TABLE campaign_budgets
    ADD CONSTRAINT budget_has_a_limit CHECK (num_nonnulls("limit", impressions_limit) > 0) NOT VALID,
    ADD CONSTRAINT budgeted_impressions_are_not_negative CHECK (impressions_limit >= 0) NOT VALID
"""

# Money and units that may no longer be served stay as they are when the way down takes away what limited them.
CLOSE_BUDGETS_WITHOUT_MONEY = (
    'UPDATE budget_tracking SET "limit" = spent + held WHERE "limit" IS NULL',
    'UPDATE campaign_budgets SET "limit" = 0 WHERE "limit" IS NULL',
)

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
        -- A day that begins at the second of its midnights has entries of the hour before.
        SELECT n.*, CASE n.period WHEN 'lifetime' THEN s.rolled_up_to
                                  ELSE n.period_start - interval '1 hour' END AS since
        FROM (
            SELECT b.campaign_id, b.period, b."limit", b.impressions_limit,
                   window_start(b.period, adserver_clock(), c.timezone) AS period_start
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
        SELECT m.*, coalesce(s.amount, 0) AS spent, open.held, coalesce(s.ads, 0) + open.ads AS ads
        FROM missing m LEFT JOIN spent s USING (campaign_id, period)
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(h.price), 0) AS held, count(*) AS ads
            FROM holds h
            WHERE h.campaign_id = m.campaign_id
                AND m.period_start = CASE m.period WHEN 'hour' THEN h.hour_start WHEN 'day' THEN h.day_start
                                                   ELSE to_timestamp(0) END
        ) AS open
    )
    INSERT INTO budget_tracking (campaign_id, period, period_start, "limit", impressions_limit, spent, held, impressions)
    SELECT campaign_id, period, period_start, budget_limit("limit", spent + held),
           budget_limit(impressions_limit, ads), spent, held, ads
    FROM counted ORDER BY campaign_id, period
    ON CONFLICT DO NOTHING;
END
$$
"""

# greatest() ignores a NULL, and a limit that is not there stays so.
BUDGET_LIMIT = """
CREATE FUNCTION budget_limit("limit" numeric, used numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN "limit" >= used THEN "limit" WHEN "limit" < used THEN used END
"""

PERCENTAGE_SPENT = """
CREATE FUNCTION percentage_spent(spent numeric, "limit" numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN "limit" = 0 THEN 100 ELSE round(spent * 100 / "limit", 2) END
"""

FUNCTION_COMMENTS = {
    "budget_limit(numeric, numeric)": "The limit of a running budget period: one that was lowered below what is used stops there",
    "percentage_spent(numeric, numeric)": "What is spent of a limit, in percent; 100 of a limit of 0, NULL without a limit",
}

# A lowered budget leaves its running row the limit that what is used needs, and nothing is served above the budget when
# holds end: then the row's own limit says too much. Periods that are over keep the limit that they had.
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

BUDGETS_COMMENTS = {
    "limit": "What may be spent in this period; NULL for no limit",
    "percentage_spent": "spent of limit, in percent; held is not in it",
    "impressions_limit": "How many ads may be served in this period; NULL for no limit",
    "impressions_remaining": "impressions_limit - impressions",
}

# I1: the CHECK constraints say the same; this is for the day on which one was dropped.
WITHIN_LIMITS = """
SELECT 'I1' AS rule, t.campaign_id, t.period || ' ' || t.period_start AS subject, l.expected, l.actual, l.explanation
FROM public.budget_tracking t
CROSS JOIN LATERAL (VALUES
    (t."limit", t.spent + t.held, 'spent and held exceed the limit'),
    (t.impressions_limit, t.impressions, 'impressions exceed the limit')
) AS l (expected, actual, explanation)
WHERE l.actual > l.expected
"""


def upgrade() -> None:
    for table, of in (("campaign_budgets", "each such period"), ("budget_tracking", "this period")):
        op.execute(MAY_BE_WITHOUT_MONEY.format(table=table))
        op.alter_column(table, "limit", comment=LIMIT.format(of))
        op.add_column(
            table,
            sa.Column("impressions_limit", sa.BigInteger(), nullable=True, comment=IMPRESSIONS_LIMIT.format(of)),
        )
    op.execute(WITHIN_BUDGET)
    op.execute(BUDGET_RULES)
    op.execute(BUDGET_LIMIT)
    op.execute(PERCENTAGE_SPENT)
    for function, comment in FUNCTION_COMMENTS.items():
        op.execute(f"COMMENT ON FUNCTION {function} IS '{comment}'")
    op.execute(RECOUNT_BUDGETS)
    op.execute(f"CREATE OR REPLACE VIEW finance.budgets AS {BUDGETS}")
    for column, comment in BUDGETS_COMMENTS.items():
        op.execute(f"COMMENT ON COLUMN finance.budgets.\"{column}\" IS '{comment}'")
    op.execute(_revision("0012").VERSION.format(", version 1.2"))
    first = _revision("0006")
    op.execute(_reconciliation(WITHIN_LIMITS, first.COUNTERS, first.SERVES, first.ROLLUPS, first.MANUAL_ENTRIES))


def downgrade() -> None:
    first = _revision("0006")
    op.execute(_revision("0012").VERSION.format(", version 1.1"))
    op.execute(f"CREATE OR REPLACE VIEW finance.reconciliation AS {first.RECONCILIATION}")
    # A view loses no column by being replaced.
    op.execute("DROP VIEW finance.budgets")
    _, comment, columns = first.VIEWS["budgets"]
    op.execute(f"CREATE VIEW finance.budgets AS {_revision('0016').BUDGETS}")
    op.execute(f"COMMENT ON VIEW finance.budgets IS '{comment}'")
    for column, column_comment in columns.items():
        op.execute(f"COMMENT ON COLUMN finance.budgets.\"{column}\" IS '{column_comment}'")
    op.execute("GRANT SELECT ON finance.budgets TO adserver_finance, adserver_app")
    days = _revision("0018")
    op.execute(_revision("0013").RECOUNT_BUDGETS.replace(days.SINCE, days.SINCE_AN_HOUR_BEFORE))
    op.execute("DROP FUNCTION percentage_spent(numeric, numeric)")
    op.execute("DROP FUNCTION budget_limit(numeric, numeric)")
    op.execute("ALTER TABLE campaign_budgets DROP CONSTRAINT budget_has_a_limit")
    for statement in CLOSE_BUDGETS_WITHOUT_MONEY:
        op.execute(statement)
    for table, comment in (
        ("campaign_budgets", "What may be spent in each such period, in the campaign's currency"),
        ("budget_tracking", "What may be spent in this period"),
    ):
        op.drop_column(table, "impressions_limit")
        op.alter_column(table, "limit", nullable=False, comment=comment)


def _reconciliation(*rules: str) -> str:
    return f"CREATE OR REPLACE VIEW finance.reconciliation AS {' UNION ALL '.join(rules)}"


def _revision(number: str) -> Any:
    return op.get_context().script.get_revision(number).module
