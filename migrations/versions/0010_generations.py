"""Generations of the budgets' rows, by which the newest version of a row is found first.

Revision ID: 0010
Revises: 0009
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# While a long query keeps its snapshot, no dead version of a row is pruned, and whoever looks for the row by its key
# reads them all, the oldest first. The versions of one generation are few, and this index has the newest first. Most
# changes leave the generation alone, because a change of an indexed column is not a HOT update.


def upgrade() -> None:
    op.execute("ALTER TABLE budget_tracking ADD COLUMN IF NOT EXISTS generation integer NOT NULL DEFAULT 0")
    # New rows share their page with few others, so that it takes long until a row has to leave it.
    op.execute("ALTER TABLE budget_tracking SET (fillfactor = 10)")
    op.execute("COMMENT ON COLUMN budget_tracking.generation IS 'Grows with every thirtieth change or so'")
    # Not CONCURRENTLY, which would wait for the long query; a row for each budget period is built in milliseconds.
    # Who has millions of them adds the column and builds the index CONCURRENTLY before, and then nothing is built here.
    op.execute("""
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX IF NOT EXISTS budget_tracking_newest
ON budget_tracking (campaign_id, period, period_start, generation DESC)
""")


def downgrade() -> None:
    op.drop_index("budget_tracking_newest", table_name="budget_tracking")
    op.execute("ALTER TABLE budget_tracking SET (fillfactor = 20)")
    op.drop_column("budget_tracking", "generation")
