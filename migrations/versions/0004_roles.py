"""Roles: an owner that migrates, an app that only reads and writes, a finance role that only reads.

Revision ID: 0004
Revises: 0003
"""

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ROLES = Path(__file__).parents[1] / "roles.sql"

# What the server does with each table; nothing that was served or booked can be changed or removed by it.
APP_GRANTS = {
    "SELECT, UPDATE": ("catalog",),
    "SELECT, INSERT, UPDATE": ("publishers", "upstreams", "campaigns", "creatives", "placements", "budget_tracking"),
    "SELECT, INSERT, UPDATE, DELETE": (
        "campaign_budgets",
        "campaign_caps",
        "campaign_upstreams",
        "placement_campaigns",
        "sessions",
        "frequency_caps",
        "holds",
        "hold_releases",
        "midnight_requests",
        "quotas",
    ),
    "SELECT, INSERT": ("ad_serves", "served_documents", "spend_ledger", "ad_events"),
    "SELECT": ("alembic_version",),
}

FINANCE_TABLES = "budget_tracking, spend_ledger"

# These run with their owner's rights, so not everybody may call them.
OWNERS_FUNCTIONS = "make_partitions(integer), partitions_ahead()"

BECOME_MEMBER = """
DO $$
BEGIN
    IF NOT pg_has_role(current_user, 'adserver_owner', 'SET') THEN
        EXECUTE format('GRANT adserver_owner TO %I', current_user);
    END IF;
END
$$
"""

KEEP_ENTRIES = """
CREATE FUNCTION refuse_ledger_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'USAGE') THEN
        RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    RAISE EXCEPTION 'entries of spend_ledger are never changed or removed: book a reversal'
        USING ERRCODE = 'insufficient_privilege';
END
$$
"""

GIVE_BACK = """
DO $$
DECLARE
    thing record;
BEGIN
    FOR thing IN
        SELECT format('ALTER TABLE %s OWNER TO CURRENT_USER', oid::regclass) AS statement FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relowner = 'adserver_owner'::regrole
        UNION ALL
        SELECT format('ALTER ROUTINE %s OWNER TO CURRENT_USER', oid::regprocedure) FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND proowner = 'adserver_owner'::regrole
    LOOP
        EXECUTE thing.statement;
    END LOOP;
END
$$
"""


def upgrade() -> None:
    op.execute(ROLES.read_text())
    op.execute(BECOME_MEMBER)
    op.execute("GRANT USAGE, CREATE ON SCHEMA public TO adserver_owner")
    op.execute("GRANT USAGE ON SCHEMA public TO adserver_app, adserver_finance")
    for verbs, tables in APP_GRANTS.items():
        op.execute(f"GRANT {verbs} ON {', '.join(tables)} TO adserver_app")
    op.execute(f"GRANT SELECT ON {FINANCE_TABLES} TO adserver_finance")
    op.execute(f"REVOKE EXECUTE ON FUNCTION {OWNERS_FUNCTIONS} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {OWNERS_FUNCTIONS} TO adserver_app")
    op.execute(KEEP_ENTRIES)
    op.execute("COMMENT ON FUNCTION refuse_ledger_change() IS 'Lets nobody but the owner change or remove entries'")
    op.execute(
        "CREATE TRIGGER entries_are_kept BEFORE UPDATE OR DELETE ON spend_ledger "
        "FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change()"
    )
    op.execute(
        "CREATE TRIGGER entries_are_not_truncated BEFORE TRUNCATE ON spend_ledger "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change()"
    )


def downgrade() -> None:
    op.execute(GIVE_BACK)
    op.execute("DROP TRIGGER entries_are_not_truncated ON spend_ledger")
    op.execute("DROP TRIGGER entries_are_kept ON spend_ledger")
    op.execute("DROP FUNCTION refuse_ledger_change()")
    op.execute(f"GRANT EXECUTE ON FUNCTION {OWNERS_FUNCTIONS} TO PUBLIC")
    # The roles stay: they belong to the cluster, and other databases may use them.
    op.execute("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM adserver_app, adserver_finance")
    op.execute(f"REVOKE ALL ON FUNCTION {OWNERS_FUNCTIONS} FROM adserver_app")
    op.execute("REVOKE ALL ON SCHEMA public FROM adserver_owner, adserver_app, adserver_finance")
