"""No budget period exceeds its limit in impressions.

Revision ID: 0025
Revises: 0024
"""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A transaction of its own: this reads every row, under a lock that lets ads be served.
    op.execute("ALTER TABLE budget_tracking VALIDATE CONSTRAINT impressions_within_budget")
    for rule in ("budget_has_a_limit", "budgeted_impressions_are_not_negative"):
        op.execute(f"ALTER TABLE campaign_budgets VALIDATE CONSTRAINT {rule}")


def downgrade() -> None:
    """Nothing: a constraint stays valid, and goes with the revision that made it."""
