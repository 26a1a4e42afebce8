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
# It also sets budget_id: a generated column would make the update of a row cost a quarter more.
# Without enable_seqscan = off a plan made for an empty table would read all of it for each of thousands of new rows.
OPEN_BUDGET_PERIOD = """
CREATE FUNCTION open_budget_period() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp SET enable_seqscan = off
AS $$
DECLARE
    taken integer;
BEGIN
    NEW.budget_id := coalesce(NEW.campaign_id, ' order ' || NEW.order_id);
    INSERT INTO budget_periods AS p (budget_id, period, period_start)
    VALUES (NEW.budget_id, NEW.period, NEW.period_start)
    ON CONFLICT (budget_id, period, period_start) DO UPDATE SET period = p.period;
    SELECT t.generation INTO taken FROM budget_tracking t
    WHERE t.budget_id = NEW.budget_id AND t.period = NEW.period AND t.period_start = NEW.period_start
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

# A change of the books needs a reason, set in the same transaction: SET LOCAL adserver.repair = 'reason'. Only members
# of the tables' owner may, and superusers; the server's role may not, even if it was granted the privileges.
REPAIR_REASON = """
CREATE FUNCTION repair_reason() RETURNS text
LANGUAGE sql STABLE SET search_path = public, pg_temp
RETURN CASE WHEN pg_has_role(session_user, (SELECT relowner FROM pg_class WHERE oid = 'spend_ledger'::regclass), 'MEMBER')
            THEN nullif(btrim(current_setting('adserver.repair', true)), '') END
"""

# An entry without a partition of its own leaves the default partition when that is made. The trigger entries_are_moved
# then requires that it is in the ledger when the transaction commits.
REFUSE_CHANGE = """
CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
BEGIN
    IF TG_NARGS = 0 AND TG_OP <> 'TRUNCATE' THEN
        IF repair_reason() IS NOT NULL THEN
            INSERT INTO book_repairs (repaired_at, repaired_by, reason, table_name, operation, old_row, new_row)
            VALUES (adserver_clock(), session_user, repair_reason(), TG_TABLE_NAME, TG_OP, to_jsonb(OLD), to_jsonb(NEW));
        ELSIF TG_OP <> 'DELETE' OR TG_TABLE_NAME <> 'spend_ledger_default' THEN
            RAISE EXCEPTION 'rows of % are never changed or removed: book a correction', TG_TABLE_NAME
                USING ERRCODE = 'insufficient_privilege';
        END IF;
        RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    RAISE EXCEPTION 'rows of % are never changed or removed, not even by a repair', TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$$
"""

# The first argument is the column that has the month. The partition of a closed month has this trigger with a second
# argument; serving never books there, so serving pays nothing. The default partition has it too: it would accept entries
# of a month before the first one that has a partition.
REFUSE_CLOSED_MONTH = """
CREATE FUNCTION refuse_closed_month() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    its_month date := date_trunc('month', (to_jsonb(NEW) ->> TG_ARGV[0])::date);
BEGIN
    IF TG_NARGS > 1 OR its_month <= (SELECT max(month) FROM closed_months) THEN
        IF repair_reason() IS NULL THEN
            RAISE EXCEPTION 'the books of % are closed', to_char(its_month, 'YYYY-MM')
                USING ERRCODE = 'check_violation', CONSTRAINT = 'month_is_closed';
        END IF;
        INSERT INTO book_repairs (repaired_at, repaired_by, reason, table_name, operation, new_row)
        VALUES (adserver_clock(), session_user, repair_reason(), TG_TABLE_NAME, TG_OP, to_jsonb(NEW));
    END IF;
    RETURN NEW;
END
$$
"""

STAMP_AUTHOR = """
CREATE FUNCTION stamp_author() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
BEGIN
    NEW.recorded_by := session_user;
    NEW.recorded_at := adserver_clock();
    RETURN NEW;
END
$$
"""

STAMP_CLOSING = """
CREATE FUNCTION stamp_closing() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
BEGIN
    NEW.closed_by := session_user;
    NEW.closed_at := adserver_clock();
    RETURN NEW;
END
$$
"""

# Postgres copies the row triggers of a table to a new partition, but not the one against TRUNCATE.
GUARD_LEDGER_PARTITION = """
CREATE FUNCTION guard_ledger_partition(partition regclass, is_closed boolean) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
    guard record;
BEGIN
    FOR guard IN
        SELECT * FROM (VALUES
            ('entries_are_not_truncated', 'BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()',
             'Keeps the ledger from being truncated'),
            ('month_is_closed',
             'BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION refuse_closed_month(''booked_on'', ''closed'')',
             'Rejects entries of a closed month')
        ) AS g (name, definition, comment)
        WHERE (is_closed OR name <> 'month_is_closed')
            AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = partition AND tgname = g.name)
    LOOP
        EXECUTE format('CREATE TRIGGER %I ' || guard.definition, guard.name, partition);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', partition, guard.name);
        EXECUTE format('COMMENT ON TRIGGER %I ON %s IS %L', guard.name, partition, guard.comment);
    END LOOP;
END
$$
"""

# A downgrade below this revision drops the triggers of partitions; this creates them again on the way up.
GUARD_PARTITIONS = """
SELECT guard_ledger_partition(c.oid, right(c.relname, 6) <= (SELECT to_char(max(month), 'YYYYMM') FROM closed_months))
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'spend_ledger'::regclass AND c.relname ~ '_[0-9]{6}$'
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
    "repair_reason()": (
        REPAIR_REASON,
        "The reason why the running transaction may repair the books; NULL if it may not",
    ),
    "refuse_change()": (
        REFUSE_CHANGE,
        "Rejects every change and removal of a row by anybody, except a repair, which it records",
    ),
    "refuse_closed_month()": (
        REFUSE_CLOSED_MONTH,
        "Rejects every new row of a closed month by anybody, except a repair, which it records",
    ),
    "stamp_author()": (STAMP_AUTHOR, "Sets recorded_by and recorded_at, so that nobody can record under another name"),
    "stamp_closing()": (STAMP_CLOSING, "Sets closed_by and closed_at, so that nobody can close under another name"),
    "guard_ledger_partition(regclass, boolean)": (
        GUARD_LEDGER_PARTITION,
        "Creates the triggers of a partition of the ledger that it does not get from the table",
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
        "FOR EACH ROW EXECUTE FUNCTION refuse_change()",
        "Keeps entries as they were booked",
    ),
    ("entries_are_not_truncated", "spend_ledger"): (
        "CREATE TRIGGER entries_are_not_truncated BEFORE TRUNCATE ON spend_ledger "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
        "Keeps the ledger from being truncated",
    ),
    ("entries_are_not_truncated", "spend_ledger_default"): (
        "CREATE TRIGGER entries_are_not_truncated BEFORE TRUNCATE ON spend_ledger_default "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
        "Keeps the ledger from being truncated",
    ),
    ("month_is_closed", "spend_ledger_default"): (
        "CREATE TRIGGER month_is_closed BEFORE INSERT ON spend_ledger_default "
        "FOR EACH ROW EXECUTE FUNCTION refuse_closed_month('booked_on')",
        "Rejects entries of closed months, which would otherwise land in the default partition",
    ),
    ("month_is_closed", "ledger_corrections"): (
        "CREATE TRIGGER month_is_closed BEFORE INSERT ON ledger_corrections "
        "FOR EACH ROW EXECUTE FUNCTION refuse_closed_month('booked_on')",
        "Rejects corrections of closed months",
    ),
    ("corrections_are_kept", "ledger_corrections"): (
        "CREATE TRIGGER corrections_are_kept BEFORE UPDATE OR DELETE ON ledger_corrections "
        "FOR EACH ROW EXECUTE FUNCTION refuse_change()",
        "Keeps corrections as they were recorded",
    ),
    ("corrections_are_not_truncated", "ledger_corrections"): (
        "CREATE TRIGGER corrections_are_not_truncated BEFORE TRUNCATE ON ledger_corrections "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
        "Keeps corrections from being truncated",
    ),
    ("author_is_stamped", "ledger_corrections"): (
        "CREATE TRIGGER author_is_stamped BEFORE INSERT ON ledger_corrections "
        "FOR EACH ROW EXECUTE FUNCTION stamp_author()",
        "Records the session's own role as the author",
    ),
    ("credits_are_kept", "order_credits"): (
        "CREATE TRIGGER credits_are_kept BEFORE UPDATE OR DELETE ON order_credits "
        "FOR EACH ROW EXECUTE FUNCTION refuse_change()",
        "Keeps credits as they were recorded",
    ),
    ("credits_are_not_truncated", "order_credits"): (
        "CREATE TRIGGER credits_are_not_truncated BEFORE TRUNCATE ON order_credits "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
        "Keeps credits from being truncated",
    ),
    ("author_is_stamped", "order_credits"): (
        "CREATE TRIGGER author_is_stamped BEFORE INSERT ON order_credits FOR EACH ROW EXECUTE FUNCTION stamp_author()",
        "Records the session's own role as the author",
    ),
    ("closings_are_kept", "closed_months"): (
        "CREATE TRIGGER closings_are_kept BEFORE UPDATE OR DELETE ON closed_months "
        "FOR EACH ROW EXECUTE FUNCTION refuse_change()",
        "Keeps closed months as they were recorded",
    ),
    ("closings_are_not_truncated", "closed_months"): (
        "CREATE TRIGGER closings_are_not_truncated BEFORE TRUNCATE ON closed_months "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
        "Keeps closed months from being truncated",
    ),
    ("author_is_stamped", "closed_months"): (
        "CREATE TRIGGER author_is_stamped BEFORE INSERT ON closed_months FOR EACH ROW EXECUTE FUNCTION stamp_closing()",
        "Records the session's own role as the one that closed the month",
    ),
}

NOT_PUBLIC = (
    *("recount_budgets(text[])", "guard_ledger_partition(regclass, boolean)"),
    *("refuse_change()", "refuse_closed_month()"),
)

# ENABLE ALWAYS: also in a session that replicates (session_replication_role = replica).
GUARDED = ("spend_ledger", "spend_ledger_default", "ledger_corrections", "order_credits", "closed_months")


def upgrade() -> None:
    for function, (statement, comment) in FUNCTIONS.items():
        op.execute(statement)
        op.execute(f"COMMENT ON FUNCTION {function} IS '{comment}'")
    for function in NOT_PUBLIC:
        op.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION recount_budgets(text[]) TO adserver_app")
    for (trigger, table), (statement, comment) in TRIGGERS.items():
        op.execute(statement)
        op.execute("COMMENT ON TRIGGER {} ON {} IS '{}'".format(trigger, table, comment.replace("'", "''")))
        if table in GUARDED:
            op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}")
    op.execute(GUARD_PARTITIONS)


def downgrade() -> None:
    for trigger, table in reversed(TRIGGERS):
        op.execute(f"DROP TRIGGER {trigger} ON {table}")
    # Their triggers on partitions go with them: until the next upgrade nothing but the owner's care protects the entries.
    for function in ("refuse_closed_month()", "refuse_change()"):
        op.execute(f"DROP FUNCTION {function} CASCADE")
    for function in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION IF EXISTS {function}")
