"""Maintenance: who does it when, and the dropping of old partitions.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# DETACH CONCURRENTLY is not to be had beside a default partition, and DROP locks the parent against everybody. So one
# partition goes at a time, in a transaction of its own: the lock is held for as long as the catalog takes, the files
# are removed after it is given back, and who does not get it in 200 ms leaves it for the next round.
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
        RAISE EXCEPTION 'partitions of % before % are not to be dropped', parent, before
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

MISPLACED_ROWS = """
CREATE FUNCTION misplaced_rows() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
RETURN EXISTS (SELECT FROM ad_serves_default) OR EXISTS (SELECT FROM ad_events_default)
    OR EXISTS (SELECT FROM served_documents_default) OR EXISTS (SELECT FROM hold_releases_default)
    OR EXISTS (SELECT FROM spend_ledger_default)
"""

COMMENTS = {
    "drop_partition(text, date)": "Drops the oldest partition whose day is before that one; returns its name, or NULL",
    "misplaced_rows()": "Whether rows went to a default partition because theirs was missing",
}


def upgrade() -> None:
    op.create_table(
        "maintenance",
        sa.Column("task", sa.Text(), nullable=False, comment="What is done"),
        sa.Column(
            "begun_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When a server last began with it; the others leave it until its time comes again",
        ),
        sa.PrimaryKeyConstraint("task", name=op.f("maintenance_pkey")),
        comment="When each task of maintenance was last begun, over all servers",
    )
    op.execute("GRANT SELECT, INSERT, UPDATE ON maintenance TO adserver_app")
    for statement in (DROP_PARTITION, MISPLACED_ROWS):
        op.execute(statement)
    for function, comment in COMMENTS.items():
        op.execute(f"COMMENT ON FUNCTION {function} IS '{comment}'")
        op.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO adserver_app")


def downgrade() -> None:
    for function in reversed(COMMENTS):
        op.execute(f"DROP FUNCTION {function}")
    op.drop_table("maintenance")
