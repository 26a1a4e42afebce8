"""Releases leave a row, and partitions are attached rather than created in place.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# CREATE TABLE ... PARTITION OF locks the whole table against everybody. ATTACH PARTITION does not, but it looks for
# rows that belong to the new partition in the default one, which it locks for that long. lock_timeout bounds the
# wait of everybody who queues behind. Rows that went to the default partition are moved in the same transaction.
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
        SELECT t.parent, t.parent || to_char(d, '_YYYYMMDD') AS name, 'served_on' AS key,
               d::date::text AS low, (d::date + 1)::text AS high
        FROM unnest(ARRAY['ad_serves', 'served_documents', 'ad_events', 'hold_releases']) AS t(parent),
             generate_series(adserver_clock() AT TIME ZONE 'UTC' - interval '1 day',
                             adserver_clock() AT TIME ZONE 'UTC' + make_interval(days => ahead_days),
                             interval '1 day') AS d
        UNION ALL
        SELECT 'spend_ledger', 'spend_ledger' || to_char(m, '_YYYYMM'), 'booked_at',
               m::text || ' UTC', (m + interval '1 month')::text || ' UTC'
        FROM generate_series(date_trunc('month', adserver_clock() AT TIME ZONE 'UTC' - interval '1 day'),
                             adserver_clock() AT TIME ZONE 'UTC' + make_interval(days => ahead_days),
                             interval '1 month') AS m
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

COMMENTS = {
    "make_partitions(integer)": "Makes the missing partitions from yesterday to so many days ahead; returns how many",
    "partitions_ahead()": "How many days after today have all their partitions; -1 when today has not",
}


def upgrade() -> None:
    op.create_table(
        "hold_releases",
        sa.Column("request_key", sa.Uuid(), nullable=False, comment="The serve's request"),
        sa.Column("slot", sa.SmallInteger(), nullable=False, comment="The serve's slot"),
        sa.Column("served_on", sa.Date(), nullable=False, comment="The serve's day, by which the table is partitioned"),
        sa.Column("campaign_id", sa.String(collation="C"), nullable=False, comment="Campaign"),
        sa.Column("price", sa.Numeric(precision=18, scale=6), nullable=False, comment="What was held"),
        sa.Column("currency", sa.String(length=3), nullable=False, comment="Currency of the price"),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=False, comment="When it was released"),
        sa.Column(
            "cause",
            sa.Text(),
            nullable=False,
            comment="error: the player said that the ad failed; expiry: no impression came in time",
        ),
        sa.CheckConstraint("cause IN ('error', 'expiry')", name=op.f("release_cause_is_known")),
        sa.PrimaryKeyConstraint("request_key", "slot", "served_on", name=op.f("hold_releases_pkey")),
        comment="Holds that were released and not charged; a late impression that is charged takes its row away",
        postgresql_partition_by="RANGE (served_on)",
    )
    op.execute("CREATE TABLE hold_releases_default PARTITION OF hold_releases DEFAULT")
    op.execute(MAKE_PARTITIONS)
    op.execute(PARTITIONS_AHEAD)
    for function, comment in COMMENTS.items():
        op.execute(f"COMMENT ON FUNCTION {function} IS '{comment}'")


def downgrade() -> None:
    op.execute("DROP FUNCTION partitions_ahead()")
    before = op.get_context().script.get_revision("0002").module
    op.execute(before.MAKE_PARTITIONS.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
    op.execute(f"COMMENT ON FUNCTION make_partitions(integer) IS '{before.COMMENTS['make_partitions(integer)']}'")
    op.drop_table("hold_releases")
