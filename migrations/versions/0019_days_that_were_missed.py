"""Rows of a day that has been over for long leave the default partition too.

Revision ID: 0019
Revises: 0018
"""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

# Only days from yesterday on were given a partition. Where none could be made for longer than that, the rows of the days
# before stayed in the default one for ever: retention did not drop them, and their month could not be closed. Each
# call makes the oldest of these as well, and no more, so that no transaction has long to move rows.
MAKE_PARTITIONS = """
CREATE OR REPLACE FUNCTION make_partitions(ahead_days integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '200ms'
AS $$
DECLARE
    wanted record;
    misplaced boolean;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('make_partitions'));
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
        SELECT 'spend_ledger', 'spend_ledger' || to_char(month, '_YYYYMM'), 'booked_at',
               month::text || ' UTC', (month + interval '1 month')::text || ' UTC'
        FROM (
            SELECT generate_series(date_trunc('month', adserver_clock() AT TIME ZONE 'UTC' - interval '1 day'),
                                   adserver_clock() AT TIME ZONE 'UTC' + make_interval(days => ahead_days),
                                   interval '1 month') AS month
            UNION SELECT date_trunc('month', min(booked_at) AT TIME ZONE 'UTC') FROM spend_ledger_default
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


def upgrade() -> None:
    op.execute(MAKE_PARTITIONS)


def downgrade() -> None:
    op.execute(op.get_context().script.get_revision("0003").module.MAKE_PARTITIONS)
