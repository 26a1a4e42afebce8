"""The functions and triggers that keep budget periods, the ledger and closed months consistent.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# budget_tracking has one row for each period. A unique index on the period alone would read every dead version of the row
# at each update that is not HOT, so the primary key includes the generation, and this trigger does the rest: sessions that
# open the same period wait for each other at the row of budget_periods, at any isolation level, and one that finds a row
# in budget_tracking adopts its generation, so that the primary key rejects the second row.
# Without enable_seqscan = off a plan made for an empty table would read all of it for each of thousands of new rows.
OPEN_BUDGET_PERIOD = """
CREATE FUNCTION open_budget_period() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp SET enable_seqscan = off
AS $$
DECLARE
    taken integer;
    -- A generated column is computed after this trigger.
    its_budget_id text := coalesce(NEW.campaign_id, ' order ' || NEW.order_id);
BEGIN
    INSERT INTO budget_periods AS p (budget_id, period, period_start)
    VALUES (its_budget_id, NEW.period, NEW.period_start)
    ON CONFLICT (budget_id, period, period_start) DO UPDATE SET period = p.period;
    SELECT t.generation INTO taken FROM budget_tracking t
    WHERE t.budget_id = its_budget_id AND t.period = NEW.period AND t.period_start = NEW.period_start
    FOR UPDATE;
    NEW.generation := coalesce(taken, NEW.generation);
    RETURN NEW;
END
$$
"""

# The lock waits for transactions that are charging budgets and blocks new ones while this counts, so it must be fast:
# a lifetime is counted from the daily sums, an hour or a day by way of the ledger's index.
RECOUNT_BUDGETS = """
CREATE FUNCTION recount_budgets(owners text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
BEGIN
    LOCK TABLE budget_tracking IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM budget_tracking t
    WHERE t.budget_id = ANY (owners)
        AND t.period_start = window_start(
            t.period, adserver_clock(), coalesce((SELECT c.timezone FROM campaigns c WHERE c.id = t.campaign_id), 'UTC'))
        AND NOT EXISTS (SELECT FROM configured_budgets b WHERE b.budget_id = t.budget_id AND b.period = t.period);
    WITH missing AS MATERIALIZED (
        -- A day that begins at the second of its two midnights has entries of the hour before.
        SELECT n.*, CASE n.period WHEN 'lifetime' THEN s.rolled_up_to
                                  ELSE n.period_start - interval '1 hour' END AS since
        FROM (
            SELECT b.budget_id, b.campaign_id, b.order_id, b.period, b."limit", b.impressions_limit,
                   window_start(b.period, adserver_clock(), coalesce(c.timezone, 'UTC')) AS period_start
            FROM configured_budgets b LEFT JOIN campaigns c ON c.id = b.campaign_id WHERE b.budget_id = ANY (owners)
        ) AS n CROSS JOIN books_state s
        WHERE NOT EXISTS (SELECT FROM budget_tracking t WHERE t.budget_id = n.budget_id AND t.period = n.period
                              AND t.period_start = n.period_start)
    ), booked AS (
        SELECT m.budget_id, m.period, d.kind, d.amount, d.entries
        FROM missing m JOIN spend_daily d ON d.campaign_id = m.campaign_id
        WHERE m.period = 'lifetime'
        UNION ALL
        SELECT m.budget_id, m.period, d.kind, d.amount, d.entries
        FROM missing m JOIN spend_daily d ON d.order_id = m.order_id
        UNION ALL
        SELECT m.budget_id, m.period, l.kind, l.amount, 1
        FROM missing m CROSS JOIN LATERAL (
            SELECT kind, amount FROM spend_ledger
            WHERE (campaign_id = m.campaign_id OR order_id = m.order_id) AND booked_at >= m.since
                AND m.period_start = CASE m.period WHEN 'hour' THEN hour_start WHEN 'day' THEN day_start
                                                   ELSE to_timestamp(0) END
            OFFSET 0 -- Keeps one lookup for each budget: a join of both tables would read the whole ledger.
        ) AS l
    ), spent AS (
        SELECT budget_id, period, sum(amount) AS amount,
               sum(entries) FILTER (WHERE kind IN ('charge', 'settle')) AS ads
        FROM booked GROUP BY budget_id, period
    ), counted AS (
        SELECT m.*, coalesce(s.amount, 0) AS spent, open.held, coalesce(s.ads, 0) + open.ads AS ads
        FROM missing m LEFT JOIN spent s USING (budget_id, period)
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(h.price), 0) AS held, count(*) AS ads
            FROM holds h
            WHERE (h.campaign_id = m.campaign_id OR h.order_id = m.order_id)
                AND m.period_start = CASE m.period WHEN 'hour' THEN h.hour_start WHEN 'day' THEN h.day_start
                                                   ELSE to_timestamp(0) END
        ) AS open
    )
    INSERT INTO budget_tracking (campaign_id, order_id, period, period_start, "limit", impressions_limit, spent, held,
                                 impressions)
    SELECT campaign_id, order_id, period, period_start, budget_limit("limit", spent + held),
           budget_limit(impressions_limit, ads), spent, held, ads
    FROM counted ORDER BY budget_id, period
    ON CONFLICT DO NOTHING;
END
$$
"""

REFUSE_LEDGER_CHANGE = """
CREATE FUNCTION refuse_ledger_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'USAGE') THEN
        RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    RAISE EXCEPTION 'entries of spend_ledger are never changed or removed: book a reversal'
        USING ERRCODE = 'insufficient_privilege';
END
$$
"""

# The partition of a closed month has this trigger, with an argument. Serving never books there, so serving pays nothing.
# The default partition has it too: it would accept entries of a month before the first one that has a partition.
REFUSE_CLOSED_MONTH = """
CREATE FUNCTION refuse_closed_month() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    entry spend_ledger := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    its_month date := date_trunc('month', entry.booked_on);
BEGIN
    IF TG_NARGS > 0 OR its_month <= (SELECT max(month) FROM closed_months) THEN
        RAISE EXCEPTION 'the books of % are closed', to_char(its_month, 'YYYY-MM')
            USING ERRCODE = 'check_violation', CONSTRAINT = 'month_is_closed';
    END IF;
    RETURN entry;
END
$$
"""

# A downgrade below this revision drops the triggers of closed months; this creates them again on the way up.
PROTECT_CLOSED_MONTHS = """
DO $$
DECLARE
    partition regclass;
BEGIN
    FOR partition IN
        SELECT c.oid FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'spend_ledger'::regclass AND c.relname ~ '_[0-9]{6}$'
            AND right(c.relname, 6) <= (SELECT to_char(max(month), 'YYYYMM') FROM closed_months)
        ORDER BY c.relname
    LOOP
        EXECUTE format('CREATE TRIGGER month_is_closed BEFORE INSERT OR UPDATE OR DELETE ON %s '
                       'FOR EACH ROW EXECUTE FUNCTION refuse_closed_month(''closed'')', partition);
    END LOOP;
END
$$
"""

FUNCTIONS = {
    "open_budget_period()": (
        OPEN_BUDGET_PERIOD,
        "Ensures that a budget period has one row, without a unique index that reads its dead versions",
    ),
    "recount_budgets(text[])": (
        RECOUNT_BUDGETS,
        "Creates and deletes the running periods of campaigns and orders, given by budget_id, whose set of budgets has changed",
    ),
    "refuse_ledger_change()": (REFUSE_LEDGER_CHANGE, "Allows only the owner to change or delete ledger entries"),
    "refuse_closed_month()": (
        REFUSE_CLOSED_MONTH,
        "Rejects every entry and change in a closed month, even the owner''s",
    ),
}

TRIGGERS = {
    ("budget_period_has_one_row", "budget_tracking"): (
        "CREATE TRIGGER budget_period_has_one_row BEFORE INSERT ON budget_tracking "
        "FOR EACH ROW EXECUTE FUNCTION open_budget_period()",
        "Lets the primary key reject a second row of the same period",
    ),
    ("entries_are_kept", "spend_ledger"): (
        "CREATE TRIGGER entries_are_kept BEFORE UPDATE OR DELETE ON spend_ledger "
        "FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change()",
        "Keeps entries as they were booked",
    ),
    ("entries_are_not_truncated", "spend_ledger"): (
        "CREATE TRIGGER entries_are_not_truncated BEFORE TRUNCATE ON spend_ledger "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change()",
        "Keeps the ledger from being truncated",
    ),
    ("month_is_closed", "spend_ledger_default"): (
        "CREATE TRIGGER month_is_closed BEFORE INSERT OR UPDATE ON spend_ledger_default "
        "FOR EACH ROW EXECUTE FUNCTION refuse_closed_month()",
        "Rejects entries of closed months, which would otherwise land in the default partition",
    ),
}


def upgrade() -> None:
    for function, (statement, comment) in FUNCTIONS.items():
        op.execute(statement)
        op.execute(f"COMMENT ON FUNCTION {function} IS '{comment}'")
    op.execute("REVOKE EXECUTE ON FUNCTION recount_budgets(text[]) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION recount_budgets(text[]) TO adserver_app")
    for (trigger, table), (statement, comment) in TRIGGERS.items():
        op.execute(statement)
        op.execute(f"COMMENT ON TRIGGER {trigger} ON {table} IS '{comment}'")
    op.execute(PROTECT_CLOSED_MONTHS)


def downgrade() -> None:
    for trigger, table in reversed(TRIGGERS):
        op.execute(f"DROP TRIGGER {trigger} ON {table}")
    # Its triggers on closed months go with it: until the next upgrade nothing but the owner's care protects them.
    op.execute("DROP FUNCTION refuse_closed_month() CASCADE")
    for function in ("refuse_ledger_change()", "recount_budgets(text[])", "open_budget_period()"):
        op.execute(f"DROP FUNCTION {function}")
