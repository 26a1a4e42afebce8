"""Closing: a month whose books are closed takes no entry, from nobody.

Revision ID: 0008
Revises: 0007
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# A closed month's partition has this trigger, and serving never books there, so it costs serving nothing. The default
# partition has it too: it would take what belongs to months before the first one that has a partition.
REFUSE_CLOSED_MONTH = """
CREATE FUNCTION refuse_closed_month() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    entry spend_ledger := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    its_month date := date_trunc('month', entry.booked_at AT TIME ZONE 'UTC');
BEGIN
    IF TG_NARGS > 0 OR its_month <= (SELECT max(month) FROM closed_months) THEN
        RAISE EXCEPTION 'the books of % are closed', to_char(its_month, 'YYYY-MM')
            USING ERRCODE = 'check_violation', CONSTRAINT = 'month_is_closed';
    END IF;
    RETURN entry;
END
$$
"""

REFUSE_IN_DEFAULT = """
CREATE TRIGGER month_is_closed BEFORE INSERT OR UPDATE ON spend_ledger_default
FOR EACH ROW EXECUTE FUNCTION refuse_closed_month()
"""

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
    PERFORM pg_advisory_xact_lock(hashtext('make_partitions'));
    IF to_regclass(name) IS NULL THEN
        EXECUTE format('CREATE TABLE %I (LIKE spend_ledger INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
        EXECUTE format('ALTER TABLE spend_ledger ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name,
                       month || ' 00:00 UTC', (month + interval '1 month')::date || ' 00:00 UTC');
    END IF;
END
$$
"""

COMMENTS = {
    "refuse_closed_month()": "Lets no entry into a month that is closed, nor change in it, not even the owner''s",
    "make_ledger_partition(date)": "Makes the partition of a month that has none, for an entry of an earlier date",
}


def upgrade() -> None:
    for statement in (REFUSE_CLOSED_MONTH, REFUSE_IN_DEFAULT, MAKE_LEDGER_PARTITION):
        op.execute(statement)
    for function, comment in COMMENTS.items():
        op.execute(f"COMMENT ON FUNCTION {function} IS '{comment}'")
    op.execute("REVOKE EXECUTE ON FUNCTION make_ledger_partition(date) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION make_ledger_partition(date) TO adserver_app")


def downgrade() -> None:
    op.execute("DROP FUNCTION make_ledger_partition(date)")
    # It takes the triggers of closed months with it: what they protected is then for the owner alone to respect.
    op.execute("DROP FUNCTION refuse_closed_month() CASCADE")
