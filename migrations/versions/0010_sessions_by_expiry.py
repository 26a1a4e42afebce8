"""An index by which maintenance finds expired sessions.

Revision ID: 0010
Revises: 0009
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # It waits for every query that began earlier, while sessions are read and written.
        op.execute("SET lock_timeout = 0")
        # An attempt that was interrupted leaves an invalid index.
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS sessions_expires_at_idx")
        op.execute("CREATE INDEX CONCURRENTLY sessions_expires_at_idx ON sessions (expires_at)")
        op.execute("SET lock_timeout = '100ms'")


def downgrade() -> None:
    op.drop_index("sessions_expires_at_idx", "sessions")
