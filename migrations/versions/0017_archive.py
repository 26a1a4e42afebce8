"""Archives: past budget periods, and ledger months with their opening balances.

Revision ID: 0017
Revises: 0016
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

# A hold ends at most seven days after its serve, so a period of ten days ago that holds nothing changes only by a
# correction. Corrections hold a shared lock on ledger_corrections from before they look for the period until they commit.
ARCHIVE_BUDGET_PERIODS = """
CREATE FUNCTION archive_budget_periods(after_days integer, max_rows integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '200ms'
AS $$
DECLARE
    moved integer;
BEGIN
    IF after_days IS NULL OR after_days < 10 THEN
        RAISE EXCEPTION 'after_days: must be at least 10' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    LOCK TABLE ledger_corrections IN SHARE ROW EXCLUSIVE MODE;
    WITH ended AS (
        SELECT t.ctid AS row_ctid FROM budget_tracking t
        WHERE t.period IN ('hour', 'day') AND t.campaign_id IS NOT NULL AND t.held = 0
            AND t.period_start < adserver_clock() - make_interval(days => after_days + 1)
        LIMIT max_rows FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM budget_tracking t USING ended e WHERE t.ctid = e.row_ctid RETURNING t.*
    ), closed AS (
        DELETE FROM budget_periods p USING gone g
        WHERE p.budget_id = g.budget_id AND p.period = g.period AND p.period_start = g.period_start
    )
    INSERT INTO budget_archive (campaign_id, period, period_start, "limit", impressions_limit, spent, impressions)
    SELECT campaign_id, period, period_start, "limit", impressions_limit, spent, impressions FROM gone;
    GET DIAGNOSTICS moved = ROW_COUNT;
    RETURN moved;
END
$$
"""

RESTORE_BUDGET_PERIODS = """
CREATE FUNCTION restore_budget_periods(campaigns text[], hour_start timestamptz, day_start timestamptz) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
    WITH back AS (
        DELETE FROM budget_archive a
        WHERE a.campaign_id = ANY (campaigns)
            AND (a.period, a.period_start) IN (('hour', hour_start), ('day', day_start))
        RETURNING a.*
    )
    INSERT INTO budget_tracking (campaign_id, period, period_start, "limit", impressions_limit, spent, impressions)
    SELECT campaign_id, period, period_start, "limit", impressions_limit, spent, impressions FROM back
    ORDER BY campaign_id, period;
END
"""

FUNCTIONS = {
    "archive_budget_periods(integer, integer)": (
        ARCHIVE_BUDGET_PERIODS,
        "Moves budget periods that ended more than the given number of days ago to budget_archive; returns how many",
    ),
    "restore_budget_periods(text[], timestamptz, timestamptz)": (
        RESTORE_BUDGET_PERIODS,
        "Moves the periods of an hour and a day back from budget_archive, so that a correction can change them",
    ),
}


def upgrade() -> None:
    for function, (statement, comment) in FUNCTIONS.items():
        op.execute(statement)
        op.execute(f"COMMENT ON FUNCTION {function} IS '{comment}'")
        op.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO adserver_app")


def downgrade() -> None:
    for function in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION {function}")
