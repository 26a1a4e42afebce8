"""Autovacuum of the tables that every ad changes.

Revision ID: 0009
Revises: 0008
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# By default a table is vacuumed when a fifth of it is dead, at a leisurely pace. budget_tracking keeps every hour and
# day of the past, and only the running ones change: a fifth of it is never dead, while the pages of the running ones
# fill up. Caps number millions, of which a fifth is long to vacuum. Holds are all inserted and deleted.
VACUUM = {
    "budget_tracking": {
        "autovacuum_vacuum_threshold": 1000,
        "autovacuum_vacuum_scale_factor": 0,
        "autovacuum_vacuum_cost_delay": 0,
    },
    "frequency_caps": {"autovacuum_vacuum_scale_factor": 0.02, "autovacuum_vacuum_insert_scale_factor": 0.02},
    "holds": {
        "autovacuum_vacuum_threshold": 1000,
        "autovacuum_vacuum_scale_factor": 0.02,
        "autovacuum_vacuum_cost_delay": 0,
    },
}


def upgrade() -> None:
    for table, options in VACUUM.items():
        op.execute(f"ALTER TABLE {table} SET ({', '.join(f'{name} = {value}' for name, value in options.items())})")


def downgrade() -> None:
    for table, options in VACUUM.items():
        op.execute(f"ALTER TABLE {table} RESET ({', '.join(options)})")
