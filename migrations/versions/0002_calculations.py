"""The clock, the windows of caps and budgets, and the arithmetic of limits: functions that read no table.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ADSERVER_CLOCK = """
CREATE FUNCTION adserver_clock() RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN transaction_timestamp()
"""

WINDOW_START = """
CREATE FUNCTION window_start("window" text, at timestamptz, timezone text) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE "window"
    WHEN 'minute' THEN date_trunc('minute', at)
    WHEN 'hour' THEN date_trunc('hour', at, 'UTC')
    WHEN 'day' THEN date_trunc('day', at, timezone)
    WHEN 'week' THEN date_trunc('week', at, timezone)
    WHEN 'month' THEN date_trunc('month', at, timezone)
    ELSE to_timestamp(0)
END
"""

# Days are added in the campaign's time zone, because a day on which the clock changes has 23 or 25 hours. If the clock
# skips midnight, as in Cairo and Santiago, the day begins at 01:00, and one day later it is 01:00 of the next day:
# hence the truncation.
WINDOW_END = """
CREATE FUNCTION window_end("window" text, start timestamptz, timezone text) RETURNS timestamptz
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

# Windows of minutes and hours are counted from 1970 in UTC, those of days by the calendar of the time zone.
CAP_WINDOW_START = """
CREATE FUNCTION cap_window_start("window" text, at timestamptz, timezone text) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE
    WHEN "window" ~ '^[0-9]+ days?$' THEN ((at AT TIME ZONE timezone)::date - mod(
        (at AT TIME ZONE timezone)::date - date '1970-01-01', split_part("window", ' ', 1)::integer
    ))::timestamp AT TIME ZONE timezone
    WHEN "window" ~ '^[0-9]' THEN date_bin("window"::interval, at, to_timestamp(0))
    ELSE window_start("window", at, timezone)
END
"""

CAP_WINDOW_END = """
CREATE FUNCTION cap_window_end("window" text, start timestamptz, timezone text) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE
    WHEN "window" ~ '^[0-9]+ days?$' THEN date_trunc('day', date_add(start, "window"::interval, timezone), timezone)
    WHEN "window" ~ '^[0-9]' THEN start + "window"::interval
    ELSE window_end("window", start, timezone)
END
"""

# With even pacing the allowed spend grows linearly: that of a lifetime budget over the flight, that of a day budget over
# the campaign's own day. Front pacing is ahead of that by a percentage, which is NULL for the others.
BUDGET_PACE = """
CREATE FUNCTION budget_pace(
    "limit" numeric, period text, period_start timestamptz,
    pacing text, front_percent smallint, starts_at timestamptz, ends_at timestamptz, timezone text
) RETURNS numeric
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE
    WHEN pacing = 'asap' OR period = 'hour' THEN "limit"
    WHEN period = 'lifetime' THEN "limit" * greatest(0, least(1,
        extract(epoch FROM adserver_clock() - starts_at) / extract(epoch FROM ends_at - starts_at)
        * (1 + coalesce(front_percent, 0) / 100.0)))
    ELSE "limit" * greatest(0, least(1,
        extract(epoch FROM adserver_clock() - period_start)
        / extract(epoch FROM window_end('day', period_start, timezone) - period_start)
        * (1 + coalesce(front_percent, 0) / 100.0)))
END
"""

# Not greatest(), which ignores NULL: a budget without a limit stays without one.
BUDGET_LIMIT = """
CREATE FUNCTION budget_limit("limit" numeric, used numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN "limit" >= used THEN "limit" WHEN "limit" < used THEN used END
"""

# Half to even at the sixth decimal: round() of Postgres rounds half away from zero.
PUBLISHER_PART = """
CREATE FUNCTION publisher_part(amount numeric, revenue_share numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE mod(amount * revenue_share * 1000000, 2)
    WHEN 0.5 THEN trunc(amount * revenue_share, 6)
    ELSE round(amount * revenue_share, 6)
END
"""

PERCENTAGE_SPENT = """
CREATE FUNCTION percentage_spent(spent numeric, "limit" numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN "limit" = 0 THEN 100 ELSE round(spent * 100 / "limit", 2) END
"""

COMMENTS = {
    "adserver_clock()": "The current time for every rule: caps, budgets, flights and pacing use no other clock",
    "window_start(text, timestamptz, text)": "Start of the window that contains a moment, in the campaign''s time zone",
    "window_end(text, timestamptz, text)": "End of the window that begins at a moment; NULL if it never ends",
    "cap_window_start(text, timestamptz, text)": "Like window_start; the window may also be a length such as 90 minutes",
    "cap_window_end(text, timestamptz, text)": "Like window_end; the window may also be a length such as 90 minutes",
    "budget_pace(numeric, text, timestamptz, text, smallint, timestamptz, timestamptz, text)": (
        "How much of a limit may be used by now"
    ),
    "budget_limit(numeric, numeric)": (
        "Limit of a running budget period: the configured limit, or what is already used if that is more"
    ),
    "publisher_part(numeric, numeric)": "The publisher''s part of an amount that is not negative, rounded half to even",
    "percentage_spent(numeric, numeric)": "Spent in percent of a limit; 100 if the limit is 0, NULL without a limit",
}


def upgrade() -> None:
    op.execute(ADSERVER_CLOCK)
    for statement in (
        WINDOW_START,
        WINDOW_END,
        CAP_WINDOW_START,
        CAP_WINDOW_END,
        BUDGET_PACE,
        BUDGET_LIMIT,
        PUBLISHER_PART,
        PERCENTAGE_SPENT,
    ):
        op.execute(statement)
    for function, comment in COMMENTS.items():
        op.execute(f"COMMENT ON FUNCTION {function} IS '{comment}'")


def downgrade() -> None:
    for function in reversed(COMMENTS):
        op.execute(f"DROP FUNCTION {function}")
