"""Who opens a budget period finds its row by an index, however small the table was when this was planned.

Revision ID: 0022
Revises: 0021
"""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Planned over an empty table, the look read all of it for each of the thousands of rows that were being inserted.
    op.execute("ALTER FUNCTION open_budget_period() SET enable_seqscan = off")


def downgrade() -> None:
    op.execute("ALTER FUNCTION open_budget_period() RESET enable_seqscan")
