"""Only placements sell a campaign, unless it says that requests may name it by `campaign_id`.

Revision ID: 0023
Revises: 0022
"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Campaigns of before go on being asked for as they are; those that are set up from now on are not direct.
    op.add_column(
        "campaigns",
        sa.Column(
            "direct",
            sa.Boolean(),
            nullable=False,
            server_default=sa.true(),
            comment="Whether requests may name it by campaign_id; else only its placements sell it",
        ),
    )
    op.alter_column("campaigns", "direct", server_default=sa.false())


def downgrade() -> None:
    op.drop_column("campaigns", "direct")
