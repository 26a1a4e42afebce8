"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}

Before this runs on a live system:
- It takes no lock that blocks serving for longer than a moment: lock_timeout is 100 ms, `adserver migrate` tries again
  for a minute, and what rewrites a table (a new column with a volatile default, a change of type) is not for noon.
- Indexes on big tables are made CONCURRENTLY, in a revision of their own, which waits for every query that began before:
      with op.get_context().autocommit_block():
          op.execute("SET lock_timeout = 0")
          op.execute("DROP INDEX CONCURRENTLY IF EXISTS the_index")  # what a broken attempt left behind is not valid
          op.execute("CREATE INDEX CONCURRENTLY the_index ON the_table (the_column)")
          op.execute("SET lock_timeout = '100ms'")
  An index of a partitioned table is made ON ONLY it first, then CONCURRENTLY on each partition, which is attached.
- Constraints on big tables are added NOT VALID first, and validated in the next revision.
- Expand, then contract: the servers of the release before and of this one must both work on the result.
"""

from alembic import op
import sqlalchemy as sa
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
