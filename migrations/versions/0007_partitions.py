"""The partitions: functions that create, count and drop them, and those of the first days.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# The server may create partitions and may execute no other DDL: these functions run with the rights of their owner. The
# lock on `maintenance` serializes them; finance has no right to it, and serving is not blocked by it.
#
# CREATE TABLE ... PARTITION OF locks the whole table against everybody. ATTACH PARTITION does not; but it scans the
# default partition for rows of the new one, and locks it meanwhile. lock_timeout bounds the wait of sessions that queue
# behind. Rows of the new partition move there in the same transaction, and each call also creates the partition of
# the oldest row in each default partition: one, so that no transaction takes long to move rows.
MAKE_PARTITIONS = """
CREATE FUNCTION make_partitions(ahead_days integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '200ms'
AS $$
DECLARE
    wanted record;
    misplaced boolean;
    made integer := 0;
BEGIN
    IF ahead_days IS NULL OR ahead_days NOT BETWEEN 0 AND 366 THEN
        RAISE EXCEPTION 'ahead_days: must be between 0 and 366' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    LOCK TABLE maintenance IN SHARE UPDATE EXCLUSIVE MODE;
    FOR wanted IN
        SELECT parent, parent || to_char(day, '_YYYYMMDD') AS name, 'served_on' AS key,
               day::text AS low, (day + 1)::text AS high
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
               month::date::text, (month + interval '1 month')::date::text
        FROM (
            SELECT generate_series(date_trunc('month', adserver_clock() AT TIME ZONE 'UTC' - interval '1 day'),
                                   adserver_clock() AT TIME ZONE 'UTC' + make_interval(days => ahead_days),
                                   interval '1 month') AS month
            UNION SELECT date_trunc('month', min(booked_on)::timestamp) FROM spend_ledger_default
        ) AS months WHERE month IS NOT NULL
    LOOP
        CONTINUE WHEN to_regclass(wanted.name) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
                       wanted.name, wanted.parent);
        EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE %I >= %L AND %I < %L)',
                       wanted.parent || '_default', wanted.key, wanted.low, wanted.key, wanted.high) INTO misplaced;
        IF misplaced THEN
            EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', wanted.parent || '_default');
            EXECUTE format('WITH moved AS (DELETE FROM %I WHERE %I >= %L AND %I < %L RETURNING *) '
                           'INSERT INTO %I SELECT * FROM moved',
                           wanted.parent || '_default', wanted.key, wanted.low, wanted.key, wanted.high, wanted.name);
        END IF;
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                       wanted.parent, wanted.name, wanted.low, wanted.high);
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
        EXECUTE format('CREATE TABLE %I (LIKE spend_ledger INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
        EXECUTE format('ALTER TABLE spend_ledger ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name,
                       month, (month + interval '1 month')::date);
        IF month <= (SELECT max(c.month) FROM closed_months c) THEN
            EXECUTE format('CREATE TRIGGER month_is_closed BEFORE INSERT OR UPDATE OR DELETE ON %I '
                           'FOR EACH ROW EXECUTE FUNCTION refuse_closed_month(''closed'')', name);
        END IF;
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
    RETURN oldest;
END
$$
"""

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

FIRST_DAYS = "SELECT make_partitions(7)"


def upgrade() -> None:
    for function, (statement, comment) in FUNCTIONS.items():
        op.execute(statement)
        op.execute(f"COMMENT ON FUNCTION {function} IS '{comment}'")
        op.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO adserver_app")
    op.execute(FIRST_DAYS)


def downgrade() -> None:
    # Partitions belong to their tables, and stay until those are dropped.
    for function in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION {function}")
