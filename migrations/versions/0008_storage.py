"""The storage parameters of the tables that every ad changes.

Revision ID: 0008
Revises: 0007
"""

from collections.abc import Mapping

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# fillfactor: free space on a page keeps updates on it and away from the indexes (HOT). The emptier a
# page starts out, the longer new versions of its rows fit on it.
#
# autovacuum: by default a table is vacuumed when a fifth of it is dead. budget_tracking keeps every hour and day of the
# past, and only the running ones change: a fifth of it is never dead, while the pages of the running ones fill up.
# frequency_caps has millions of rows, and a fifth of them takes long to vacuum. Every row of holds is inserted and deleted.
PARAMETERS: Mapping[str, Mapping[str, float]] = {
    "budget_tracking": {
        "fillfactor": 10,
        "autovacuum_vacuum_threshold": 1000,
        "autovacuum_vacuum_scale_factor": 0,
        "autovacuum_vacuum_cost_delay": 0,
    },
    "frequency_caps": {
        "fillfactor": 80,
        "autovacuum_vacuum_scale_factor": 0.02,
        "autovacuum_vacuum_insert_scale_factor": 0.02,
    },
    "holds": {
        "autovacuum_vacuum_threshold": 1000,
        "autovacuum_vacuum_scale_factor": 0.02,
        "autovacuum_vacuum_cost_delay": 0,
    },
    "quotas": {"fillfactor": 20},
    "sessions": {"fillfactor": 80},
}


def upgrade() -> None:
    for table, parameters in PARAMETERS.items():
        assigned = ", ".join(f"{name} = {value}" for name, value in parameters.items())
        op.execute(f"ALTER TABLE {table} SET ({assigned})")


def downgrade() -> None:
    for table, parameters in PARAMETERS.items():
        op.execute(f"ALTER TABLE {table} RESET ({', '.join(parameters)})")
