"""Servers read what has changed in the catalog, and not all of it again.

Revision ID: 0020
Revises: 0019
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

KINDS = ("publishers", "upstreams", "campaigns", "creatives", "placements")


def upgrade() -> None:
    op.create_table(
        "catalog_changes",
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False, comment="Revision of the catalog"),
        sa.Column(
            "made_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
            comment="When it came about",
        ),
        *(
            sa.Column(
                kind,
                postgresql.ARRAY(sa.String(collation="C")),
                nullable=False,
                comment="Ids of those that were created or replaced",
            )
            for kind in KINDS
        ),
        sa.PrimaryKeyConstraint("revision", name=op.f("catalog_changes_pkey")),
        comment="What the last revisions of the catalog changed, so that servers read just that, "
        "and not everything again",
    )
    op.execute("GRANT SELECT, INSERT, DELETE ON catalog_changes TO adserver_app")


def downgrade() -> None:
    op.drop_table("catalog_changes")
