"""The partitions: functions that create, count and drop them, and those of the first days.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# CREATE TABLE ... PARTITION OF locks the whole table against everybody. ATTACH PARTITION does not; but it scans the
# default partition for rows of the new one, and locks it meanwhile. lock_timeout bounds the wait of sessions that queue
# behind.
#
# Rows of the new partition move there from the default partition in the same transaction. They are inserted through the
# parent, so that a subscriber of a publication with publish_via_partition_root receives a DELETE and an INSERT of each. An
# insert into the new partition before it is attached would not be published.
CREATE_PARTITION = """
CREATE FUNCTION create_partition(parent text, name text, key text, low date, high date) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
    its_range text := format('%I >= %L AND %I < %L', key, low, key, high);
    has_rows boolean;
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMMENTS)', name, parent);
    EXECUTE format('COMMENT ON TABLE %I IS %L', name,
                   format('Rows of %s with %s from %s until before %s', parent, key, low, high));
    EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE %s)', parent || '_default', its_range) INTO has_rows;
    IF has_rows THEN
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent || '_default');
        EXECUTE format('CREATE UNLOGGED TABLE %I AS SELECT * FROM %I WHERE %s', name || '_moving', parent || '_default',
                       its_range);
        EXECUTE format('DELETE FROM %I WHERE %s', parent || '_default', its_range);
    END IF;
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, name, low, high);
    IF has_rows THEN
        EXECUTE format('INSERT INTO %I OVERRIDING SYSTEM VALUE TABLE %I', parent, name || '_moving');
        EXECUTE format('DROP TABLE %I', name || '_moving');
    END IF;
    IF parent = 'spend_ledger' THEN
        PERFORM guard_ledger_partition(name::regclass, low <= (SELECT max(c.month) FROM closed_months c));
    END IF;
END
$$
"""

# The default partition is the only one that entries may leave, and only for their own partition.
KEEP_MOVED_ENTRY = """
CREATE FUNCTION keep_moved_entry() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
BEGIN
    IF repair_reason() IS NULL AND NOT EXISTS (
        SELECT FROM spend_ledger l WHERE l.entry_id = OLD.entry_id AND l.booked_on = OLD.booked_on
            AND ROW(l.*) IS NOT DISTINCT FROM ROW(OLD.*)) THEN
        RAISE EXCEPTION 'entry % may leave the default partition only for its own partition', OLD.entry_id
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END
$$
"""

ENTRIES_ARE_MOVED = """
CREATE CONSTRAINT TRIGGER entries_are_moved AFTER DELETE ON spend_ledger_default DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION keep_moved_entry()
"""

# The server may create partitions and may execute no other DDL: these functions run with the rights of their owner. The
# lock on `maintenance` serializes them; finance has no right to it, and serving is not blocked by it. Each call also
# creates the partition of the oldest row in each default partition: one, so that no transaction takes long to move rows.
MAKE_PARTITIONS = """
CREATE FUNCTION make_partitions(ahead_days integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '200ms'
AS $$
DECLARE
    wanted record;
    made integer := 0;
BEGIN
    IF ahead_days IS NULL OR ahead_days NOT BETWEEN 0 AND 366 THEN
        RAISE EXCEPTION 'ahead_days: must be between 0 and 366' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    LOCK TABLE maintenance IN SHARE UPDATE EXCLUSIVE MODE;
    FOR wanted IN
        SELECT parent, parent || to_char(day, '_YYYYMMDD') AS name, 'served_on' AS key, day AS low, day + 1 AS high
        FROM (
            SELECT t.parent, d::date AS day
            FROM unnest(ARRAY['ad_serves', 'served_documents', 'ad_events', 'hold_releases']) AS t(parent),
                 generate_series(adserver_clock() AT TIME ZONE 'UTC' - interval '1 day',
                                 adserver_clock() AT TIME ZONE 'UTC' + make_interval(days => ahead_days),
                                 interval '1 day') AS d
            UNION SELECT 'ad_serves', min(served_on) FROM ad_serves_default
            UNION SELECT 'served_documents', min(served_on) FROM served_documents_default
            UNION SELECT 'ad_events', min(served_on) FROM ad_events_default
            UNION SELECT 'hold_releases', min(served_on) FROM hold_releases_default
        ) AS days WHERE day IS NOT NULL
        UNION ALL
        SELECT 'spend_ledger', 'spend_ledger' || to_char(month, '_YYYYMM'), 'booked_on',
               month::date, (month + interval '1 month')::date
        FROM (
            SELECT generate_series(date_trunc('month', adserver_clock() AT TIME ZONE 'UTC' - interval '1 day'),
                                   adserver_clock() AT TIME ZONE 'UTC' + make_interval(days => ahead_days),
                                   interval '1 month') AS month
            UNION SELECT date_trunc('month', min(booked_on)::timestamp) FROM spend_ledger_default
        ) AS months WHERE month IS NOT NULL
    LOOP
        CONTINUE WHEN to_regclass(wanted.name) IS NOT NULL;
        PERFORM create_partition(wanted.parent, wanted.name, wanted.key, wanted.low, wanted.high);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$
"""

# A month before the last closed one that had no entry has no partition. One that is created later rejects entries too.
MAKE_LEDGER_PARTITION = """
CREATE FUNCTION make_ledger_partition(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '2s'
AS $$
DECLARE
    name text := 'spend_ledger' || to_char(month, '_YYYYMM');
BEGIN
    IF to_regclass(name) IS NOT NULL THEN
        RETURN;
    END IF;
    LOCK TABLE maintenance IN SHARE UPDATE EXCLUSIVE MODE;
    IF to_regclass(name) IS NULL THEN
        PERFORM create_partition('spend_ledger', name, 'booked_on', month, (month + interval '1 month')::date);
    END IF;
END
$$
"""

PARTITIONS_AHEAD = """
CREATE FUNCTION partitions_ahead() RETURNS integer
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
RETURN (
    SELECT coalesce(min(n.days), 400) - 1
    FROM generate_series(0, 399) AS n (days)
    CROSS JOIN LATERAL (SELECT (adserver_clock() AT TIME ZONE 'UTC')::date + n.days AS day) AS d
    WHERE num_nulls(to_regclass('ad_serves' || to_char(d.day, '_YYYYMMDD')),
                    to_regclass('served_documents' || to_char(d.day, '_YYYYMMDD')),
                    to_regclass('ad_events' || to_char(d.day, '_YYYYMMDD')),
                    to_regclass('hold_releases' || to_char(d.day, '_YYYYMMDD')),
                    to_regclass('spend_ledger' || to_char(d.day, '_YYYYMM'))) > 0
)
"""

MISPLACED_ROWS = """
CREATE FUNCTION misplaced_rows() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
RETURN EXISTS (SELECT FROM ad_serves_default) OR EXISTS (SELECT FROM ad_events_default)
    OR EXISTS (SELECT FROM served_documents_default) OR EXISTS (SELECT FROM hold_releases_default)
    OR EXISTS (SELECT FROM spend_ledger_default)
"""

# Beside a default partition Postgres does not support DETACH CONCURRENTLY, and DROP locks the parent against everybody.
# So each call drops one partition, in a transaction of its own: the lock is held only while the catalog changes, the
# files are removed after it is released, and a call that does not get the lock in 200 ms leaves the rest to the next round.
DROP_PARTITION = """
CREATE FUNCTION drop_partition(parent text, before date) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '200ms'
AS $$
DECLARE
    least_days integer := CASE parent
        WHEN 'served_documents' THEN 2 WHEN 'ad_serves' THEN 35 WHEN 'ad_events' THEN 35 WHEN 'hold_releases' THEN 35 END;
    oldest text;
BEGIN
    IF least_days IS NULL OR before > (adserver_clock() AT TIME ZONE 'UTC')::date - least_days THEN
        RAISE EXCEPTION 'partitions of % before % must not be dropped', parent, before
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT c.relname INTO oldest
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = parent::regclass AND c.relname ~ (parent || '_[0-9]{8}$')
        AND right(c.relname, 8) < to_char(before, 'YYYYMMDD')
    ORDER BY c.relname LIMIT 1;
    IF oldest IS NOT NULL THEN
        EXECUTE format('DROP TABLE %I', oldest);
        INSERT INTO retention AS r (parent, dropped_before) VALUES (parent, to_date(right(oldest, 8), 'YYYYMMDD') + 1)
        ON CONFLICT ON CONSTRAINT retention_pkey DO UPDATE
            SET dropped_before = greatest(r.dropped_before, excluded.dropped_before);
    END IF;
    IF parent = 'ad_serves' THEN
        -- A serve is not younger than its charge.
        DELETE FROM archived_charges c WHERE (c.booked_at AT TIME ZONE 'UTC')::date < to_date(right(oldest, 8), 'YYYYMMDD') + 1;
    END IF;
    RETURN oldest;
END
$$
"""

# The owner's own functions, which no other role may call.
OWNERS_FUNCTIONS = {
    "create_partition(text, text, text, date, date)": (
        CREATE_PARTITION,
        "Creates a partition and moves its rows there from the default partition",
    ),
    "keep_moved_entry()": (KEEP_MOVED_ENTRY, "Lets an entry leave the default partition only for its own partition"),
}

FUNCTIONS = {
    "make_partitions(integer)": (
        MAKE_PARTITIONS,
        "Creates the missing partitions from yesterday until the given number of days from now; returns how many",
    ),
    "make_ledger_partition(date)": (
        MAKE_LEDGER_PARTITION,
        "Creates the ledger''s partition of a month if it is missing, for an entry of an earlier date",
    ),
    "partitions_ahead()": (
        PARTITIONS_AHEAD,
        "Number of days after today that have all their partitions; -1 if those of today are missing",
    ),
    "misplaced_rows()": (
        MISPLACED_ROWS,
        "Whether a default partition has rows because their own partition was missing",
    ),
    "drop_partition(text, date)": (
        DROP_PARTITION,
        "Drops the oldest partition of a table that is older than a day; returns its name, or NULL",
    ),
}

PARENTS = ("ad_serves", "served_documents", "ad_events", "hold_releases", "spend_ledger")

FIRST_DAYS = "SELECT make_partitions(7)"


def upgrade() -> None:
    for function, (statement, comment) in OWNERS_FUNCTIONS.items():
        op.execute(statement)
        op.execute(f"COMMENT ON FUNCTION {function} IS '{comment}'")
        op.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
    for function, (statement, comment) in FUNCTIONS.items():
        op.execute(statement)
        op.execute(f"COMMENT ON FUNCTION {function} IS '{comment}'")
        op.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO adserver_app")
    op.execute(FIRST_DAYS)
    for parent in PARENTS:
        op.execute(f"COMMENT ON TABLE {parent}_default IS 'Rows of {parent} whose own partition is missing'")
    op.execute(ENTRIES_ARE_MOVED)
    op.execute("ALTER TABLE spend_ledger_default ENABLE ALWAYS TRIGGER entries_are_moved")
    op.execute(
        "COMMENT ON TRIGGER entries_are_moved ON spend_ledger_default IS "
        "'Requires that an entry that leaves the default partition is in the ledger at commit'"
    )


def downgrade() -> None:
    # Partitions belong to their tables, and stay until those are dropped.
    op.execute("DROP TRIGGER entries_are_moved ON spend_ledger_default")
    for parent in PARENTS:
        op.execute(f"COMMENT ON TABLE {parent}_default IS NULL")
    for function in reversed([*OWNERS_FUNCTIONS, *FUNCTIONS]):
        op.execute(f"DROP FUNCTION {function}")
