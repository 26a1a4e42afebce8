"""A day budget that is added on a day with two midnights is counted from the first of them.

Revision ID: 0018
Revises: 0017
"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

# Where the clock goes back at one o'clock, as in the Azores and in Havana, the day begins at the second of its midnights:
# what was charged in the hour before carries that day, and is booked earlier than the day begins.
SINCE = "ELSE n.period_start END AS since"
SINCE_AN_HOUR_BEFORE = "ELSE n.period_start - interval '1 hour' END AS since"


def upgrade() -> None:
    op.execute(_recount_budgets().replace(SINCE, SINCE_AN_HOUR_BEFORE))


def downgrade() -> None:
    op.execute(_recount_budgets())


def _recount_budgets() -> str:
    """The function of revision 0013."""
    function: str = op.get_context().script.get_revision("0013").module.RECOUNT_BUDGETS
    return function
