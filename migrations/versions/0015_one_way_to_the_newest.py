"""The newest version of a budget's row is found by an index that is the only way there is to it.

Revision ID: 0015
Revises: 0014
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# A budget period has one row that counts, so the planner took the index of revision 0010, the primary key and a sort
# for equally good, and changed from one to the other as they grew. The primary key reads every dead version. These
# expressions are what the columns are, only that the primary key does not have them; nothing begins before 1970.
# Built like its predecessor, for the same reason. That one stays for the servers of before, which know no other way.


def upgrade() -> None:
    op.execute("""
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX IF NOT EXISTS budget_tracking_by_generation
ON budget_tracking ((campaign_id || '/' || period), greatest(period_start, to_timestamp(0)), generation DESC)
""")


def downgrade() -> None:
    """Nothing: the index stays until its column goes, for servers of this revision that may still be running."""
