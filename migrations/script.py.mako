"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}

Rules for a revision that runs on a live system:
- It takes no lock that blocks serving for longer than a moment: lock_timeout is 100 ms, and `adserver migrate` retries
  for a minute. Do not rewrite a large table (a new column with a volatile default, a change of type).
- Build an index on a large table CONCURRENTLY, in a revision of its own, which waits for every query that began earlier:
      with op.get_context().autocommit_block():
          op.execute("SET lock_timeout = 0")
          op.execute("DROP INDEX CONCURRENTLY IF EXISTS the_index")  # an interrupted attempt leaves it invalid
          op.execute("CREATE INDEX CONCURRENTLY the_index ON the_table (the_column)")
          op.execute("SET lock_timeout = '100ms'")
  For a partitioned table, create the index ON ONLY the table, build it CONCURRENTLY on each partition, and attach those.
- Add a constraint on a large table as NOT VALID, and validate it in the next revision.
- Expand, then contract: the previous release and this one must both work on the result.
- Write the downgrade, comment every object, and import nothing from `app`. docs/adr/0004-baseline-schema.md has the rest.
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
