"""Finance cannot hold up maintenance, nor write by other ways than tables.

Revision ID: 0026
Revises: 0025
"""

from typing import Any

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

# Anybody who may connect may take an advisory lock, and its key is no secret. Nobody but the owner and the server may lock
# this table; serving, and the server's own notes in it, are not held up by the lock.
ADVISORY_LOCK = "PERFORM pg_advisory_xact_lock(hashtext('make_partitions'));"
TABLE_LOCK = "LOCK TABLE maintenance IN SHARE UPDATE EXCLUSIVE MODE;"
AHEAD_DAYS_MAX = 366
BOUND = f"""IF ahead_days IS NULL OR ahead_days NOT BETWEEN 0 AND {AHEAD_DAYS_MAX} THEN
        RAISE EXCEPTION 'ahead_days: must be between 0 and {AHEAD_DAYS_MAX}' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    """

# These functions belong to whoever made the cluster. Where that is not who migrates, docs/dba.md says what is left to do.
OPEN_TO_ALL = """
DO $$
DECLARE
    routine record;
BEGIN
    IF has_database_privilege(current_database(), 'TEMPORARY WITH GRANT OPTION') THEN
        EXECUTE format('{database}', current_database());
    END IF;
    FOR routine IN
        SELECT oid::regprocedure::text AS name FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND pg_has_role(proowner, 'USAGE')
            AND (proname ~ '^pg_(try_)?advisory_' OR proname IN ('lo_create', 'lo_creat', 'lo_from_bytea'))
    LOOP
        EXECUTE format('{routine}', routine.name);
    END LOOP;
END
$$
"""
CLOSE = OPEN_TO_ALL.format(
    database="REVOKE TEMPORARY ON DATABASE %1$I FROM PUBLIC; GRANT TEMPORARY ON DATABASE %1$I TO adserver_owner",
    routine="REVOKE EXECUTE ON FUNCTION %1$s FROM PUBLIC; GRANT EXECUTE ON FUNCTION %1$s TO adserver_owner, adserver_app",
)
OPEN = OPEN_TO_ALL.format(
    database="GRANT TEMPORARY ON DATABASE %1$I TO PUBLIC; REVOKE TEMPORARY ON DATABASE %1$I FROM adserver_owner",
    routine="GRANT EXECUTE ON FUNCTION %1$s TO PUBLIC; REVOKE EXECUTE ON FUNCTION %1$s FROM adserver_owner, adserver_app",
)


def upgrade() -> None:
    op.execute(_make_partitions().replace(ADVISORY_LOCK, BOUND + TABLE_LOCK))
    op.execute(_make_ledger_partition().replace(ADVISORY_LOCK, TABLE_LOCK))
    op.execute(CLOSE)


def downgrade() -> None:
    op.execute(OPEN)
    op.execute(_make_ledger_partition())
    op.execute(_make_partitions())


def _make_partitions() -> str:
    function: str = _revision("0019").MAKE_PARTITIONS
    return function


def _make_ledger_partition() -> str:
    function: str = _revision("0021").MAKE_LEDGER_PARTITION
    return function


def _revision(number: str) -> Any:
    return op.get_context().script.get_revision(number).module
