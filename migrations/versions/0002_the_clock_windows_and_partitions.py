"""The clock, the windows, and the making of partitions.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

CLOCK = """
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

# Days are added on the campaign's own calendar, because a day that changes the clock has 23 or 25 hours.
WINDOW_END = """
CREATE FUNCTION window_end("window" text, start timestamptz, timezone text) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE "window"
    WHEN 'minute' THEN start + interval '1 minute'
    WHEN 'hour' THEN start + interval '1 hour'
    WHEN 'day' THEN date_add(start, interval '1 day', timezone)
    WHEN 'week' THEN date_add(start, interval '7 days', timezone)
    WHEN 'month' THEN date_add(start, interval '1 month', timezone)
    ELSE NULL
END
"""

# Spend may grow evenly: a lifetime budget's over the flight, a day budget's over the campaign's own day.
BUDGET_PACE = """
CREATE FUNCTION budget_pace(
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
        / extract(epoch FROM date_add(period_start, interval '1 day', timezone) - period_start)))
END
"""

# The server may make partitions without being allowed any other DDL: the function runs as its owner.
MAKE_PARTITIONS = """
CREATE FUNCTION make_partitions(ahead_days integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    parent text;
    wanted record;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('make_partitions'));
    FOR wanted IN
        SELECT t.parent, to_char(d, 'YYYYMMDD') AS suffix, d::date::text AS low, (d::date + 1)::text AS high
        FROM unnest(ARRAY['ad_serves', 'served_documents', 'ad_events']) AS t(parent),
             generate_series(adserver_clock() AT TIME ZONE 'UTC' - interval '1 day',
                             adserver_clock() AT TIME ZONE 'UTC' + make_interval(days => ahead_days),
                             interval '1 day') AS d
        UNION ALL
        SELECT 'spend_ledger', to_char(m, 'YYYYMM'), m::text || ' UTC', (m + interval '1 month')::text || ' UTC'
        FROM generate_series(date_trunc('month', adserver_clock() AT TIME ZONE 'UTC' - interval '1 day'),
                             adserver_clock() AT TIME ZONE 'UTC' + make_interval(days => ahead_days),
                             interval '1 month') AS m
    LOOP
        IF to_regclass(wanted.parent || '_' || wanted.suffix) IS NULL THEN
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                           wanted.parent || '_' || wanted.suffix, wanted.parent, wanted.low, wanted.high);
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END
$$
"""

COMMENTS = {
    "adserver_clock()": "What time it is for every rule: caps, budgets, flights and pacing ask nothing else",
    "window_start(text, timestamptz, text)": "Start of the window that a moment lies in, in the campaign''s timezone",
    "window_end(text, timestamptz, text)": "End of the window that starts there; NULL when it never ends",
    "budget_pace(numeric, text, timestamptz, text, timestamptz, timestamptz, text)": "How much of a budget may be spent by now",
    "make_partitions(integer)": "Makes the missing partitions from yesterday to so many days ahead; returns how many",
}


def upgrade() -> None:
    for statement in (CLOCK, WINDOW_START, WINDOW_END, BUDGET_PACE, MAKE_PARTITIONS):
        op.execute(statement)
    for function, comment in COMMENTS.items():
        op.execute(f"COMMENT ON FUNCTION {function} IS '{comment}'")


def downgrade() -> None:
    for function in reversed(COMMENTS):
        op.execute(f"DROP FUNCTION {function}")
