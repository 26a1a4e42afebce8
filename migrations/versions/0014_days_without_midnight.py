"""A day that begins at one o'clock ends at midnight all the same.

Revision ID: 0014
Revises: 0013
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# Where the clock goes forward at midnight, as in Cairo and in Santiago, a day begins at 01:00; a day later it is 01:00
# again, an hour into the next day. What is truncated then is its beginning, as it is where nothing was added.
WINDOW_END = """
CREATE OR REPLACE FUNCTION window_end("window" text, start timestamptz, timezone text) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE "window"
    WHEN 'minute' THEN start + interval '1 minute'
    WHEN 'hour' THEN start + interval '1 hour'
    WHEN 'day' THEN date_trunc('day', date_add(start, interval '1 day', timezone), timezone)
    WHEN 'week' THEN date_trunc('week', date_add(start, interval '7 days', timezone), timezone)
    WHEN 'month' THEN date_trunc('month', date_add(start, interval '1 month', timezone), timezone)
    ELSE NULL
END
"""

BUDGET_PACE = """
CREATE OR REPLACE FUNCTION budget_pace(
    "limit" numeric, period text, period_start timestamptz,
    pacing text, starts_at timestamptz, ends_at timestamptz, timezone text
) RETURNS numeric
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE
    WHEN pacing = 'asap' OR period = 'hour' THEN "limit"
    WHEN period = 'lifetime' THEN "limit" * greatest(0, least(1,
        extract(epoch FROM adserver_clock() - starts_at) / extract(epoch FROM ends_at - starts_at)))
    ELSE "limit" * greatest(0, least(1,
        extract(epoch FROM adserver_clock() - period_start)
        / extract(epoch FROM window_end('day', period_start, timezone) - period_start)))
END
"""


def upgrade() -> None:
    op.execute(WINDOW_END)
    op.execute(BUDGET_PACE)


def downgrade() -> None:
    before = op.get_context().script.get_revision("0002").module
    for function in (before.BUDGET_PACE, before.WINDOW_END):
        op.execute(function.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
