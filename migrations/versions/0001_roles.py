"""The roles: an owner that migrates, a server that reads and writes, a finance role that only reads.

Revision ID: 0001
Revises:
"""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ROLES = Path(__file__).parents[1] / "roles.sql"

# migrations/env.py gives everything that a revision creates to adserver_owner.
BECOME_MEMBER = """
DO $$
BEGIN
    IF NOT pg_has_role(current_user, 'adserver_owner', 'SET') THEN
        EXECUTE format('GRANT adserver_owner TO %I', current_user);
    END IF;
END
$$
"""

# By default every role may create temporary tables, large objects and advisory locks, and the keys of our locks are no
# secret. These functions belong to the role that created the cluster; if another role migrates, they stay as they are,
# and docs/dba.md describes what remains to be done.
DEFAULTS_OF_POSTGRES = """
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
REVOKE_FROM_PUBLIC = DEFAULTS_OF_POSTGRES.format(
    database="REVOKE TEMPORARY ON DATABASE %1$I FROM PUBLIC; GRANT TEMPORARY ON DATABASE %1$I TO adserver_owner",
    routine="REVOKE EXECUTE ON FUNCTION %1$s FROM PUBLIC; GRANT EXECUTE ON FUNCTION %1$s TO adserver_owner, adserver_app",
)
GRANT_TO_PUBLIC = DEFAULTS_OF_POSTGRES.format(
    database="GRANT TEMPORARY ON DATABASE %1$I TO PUBLIC; REVOKE TEMPORARY ON DATABASE %1$I FROM adserver_owner",
    routine="GRANT EXECUTE ON FUNCTION %1$s TO PUBLIC; REVOKE EXECUTE ON FUNCTION %1$s FROM adserver_owner, adserver_app",
)


def upgrade() -> None:
    op.execute(ROLES.read_text())
    op.execute(BECOME_MEMBER)
    op.execute("GRANT USAGE, CREATE ON SCHEMA public TO adserver_owner")
    op.execute("GRANT USAGE ON SCHEMA public TO adserver_app, adserver_finance")
    op.execute("GRANT SELECT ON alembic_version TO adserver_app")
    op.execute(REVOKE_FROM_PUBLIC)


def downgrade() -> None:
    op.execute(GRANT_TO_PUBLIC)
    op.execute("ALTER TABLE alembic_version OWNER TO CURRENT_USER")
    op.execute("REVOKE ALL ON alembic_version FROM adserver_app")
    # The roles stay: they belong to the cluster, and other databases may use them.
    op.execute("REVOKE ALL ON SCHEMA public FROM adserver_owner, adserver_app, adserver_finance")
