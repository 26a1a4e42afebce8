"""A trigger that keeps the owner and the period of every row of budget_tracking.

Revision ID: 0011
Revises: 0010
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

KEEP_BUDGET_PERIOD = """
CREATE FUNCTION keep_budget_period() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'the owner and period of a row of budget_tracking cannot be changed'
        USING ERRCODE = 'integrity_constraint_violation';
END
$$
"""

# budget_period_has_one_row guards inserts only; a changed key could still give a period a second row.
BUDGET_PERIOD_IS_KEPT = """
CREATE TRIGGER budget_period_is_kept AFTER UPDATE OF budget_id, campaign_id, order_id, period, period_start ON budget_tracking
FOR EACH ROW EXECUTE FUNCTION keep_budget_period()
"""

COMMENTS = {
    "FUNCTION keep_budget_period()": "Rejects a changed key of budget_tracking",
    "TRIGGER budget_period_is_kept ON budget_tracking": "Keeps the owner and the period of a row",
}


def upgrade() -> None:
    op.execute(KEEP_BUDGET_PERIOD)
    op.execute(BUDGET_PERIOD_IS_KEPT)
    for target, comment in COMMENTS.items():
        op.execute(f"COMMENT ON {target} IS '{comment}'")


def downgrade() -> None:
    op.execute("DROP TRIGGER budget_period_is_kept ON budget_tracking")
    op.execute("DROP FUNCTION keep_budget_period()")
