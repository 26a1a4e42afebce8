"""A closed month takes no entry either where its partition came later, or lost what refuses them.

Revision ID: 0021
Revises: 0020
"""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

# A month before the last closed one that had no entry has no partition. One that is made for it now refuses entries too.
MAKE_LEDGER_PARTITION = """
CREATE OR REPLACE FUNCTION make_ledger_partition(month date) RETURNS void
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
        IF month <= (SELECT max(c.month) FROM closed_months c) THEN
            EXECUTE format('CREATE TRIGGER month_is_closed BEFORE INSERT OR UPDATE OR DELETE ON %I '
                           'FOR EACH ROW EXECUTE FUNCTION refuse_closed_month(''closed'')', name);
        END IF;
    END IF;
END
$$
"""

# The way down over 0008 takes the triggers of closed months with it, and the way up again did not bring them back.
REFUSE_AGAIN = """
DO $$
DECLARE
    partition regclass;
BEGIN
    FOR partition IN
        SELECT c.oid FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'spend_ledger'::regclass AND c.relname ~ '_[0-9]{6}$'
            AND right(c.relname, 6) <= (SELECT to_char(max(month), 'YYYYMM') FROM closed_months)
            AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'month_is_closed')
        ORDER BY c.relname
    LOOP
        EXECUTE format('CREATE TRIGGER month_is_closed BEFORE INSERT OR UPDATE OR DELETE ON %s '
                       'FOR EACH ROW EXECUTE FUNCTION refuse_closed_month(''closed'')', partition);
    END LOOP;
END
$$
"""


def upgrade() -> None:
    op.execute(MAKE_LEDGER_PARTITION)
    op.execute(REFUSE_AGAIN)


def downgrade() -> None:
    before: str = op.get_context().script.get_revision("0008").module.MAKE_LEDGER_PARTITION
    op.execute(before.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
