"""A change of a budget's row does not read the versions that a long query keeps.

Revision ID: 0017
Revises: 0016
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

# Whoever changes an indexed column, or leaves a full page, asks a unique index whether there is another such row, and
# that reads every version of the key. With the generation in the primary key those are few. That a period has one row
# all the same is what the trigger sees to: those who open the same period come one after the other, at any isolation
# level, and who finds a row there takes over its generation, so that the primary key refuses the second.
OPEN = """
CREATE FUNCTION open_budget_period() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
    taken integer;
BEGIN
    INSERT INTO budget_periods AS p (campaign_id, period, period_start)
    VALUES (NEW.campaign_id, NEW.period, NEW.period_start)
    ON CONFLICT (campaign_id, period, period_start) DO UPDATE SET period = p.period;
    SELECT t.generation INTO taken FROM budget_tracking t
    WHERE t.campaign_id = NEW.campaign_id AND t.period = NEW.period AND t.period_start = NEW.period_start
    FOR UPDATE;
    NEW.generation := coalesce(taken, NEW.generation);
    RETURN NEW;
END
$$
"""

KEEP = """
CREATE FUNCTION keep_budget_period() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'a row of budget_tracking stays that of its campaign and period'
        USING ERRCODE = 'integrity_constraint_violation';
END
$$
"""

TRIGGERS = (
    "CREATE TRIGGER budget_period_has_one_row BEFORE INSERT ON budget_tracking "
    "FOR EACH ROW EXECUTE FUNCTION open_budget_period()",
    "CREATE TRIGGER budget_period_is_kept AFTER UPDATE OF campaign_id, period, period_start ON budget_tracking "
    "FOR EACH ROW EXECUTE FUNCTION keep_budget_period()",
)

# Not CONCURRENTLY, as in 0010; who has millions of periods builds an index of this name and these columns before.
INDEX = """
-- squawk-ignore require-concurrent-index-creation
CREATE UNIQUE INDEX IF NOT EXISTS budget_tracking_one_row ON budget_tracking ({columns})
"""

SWAP = """
-- squawk-ignore ban-drop-constraint
ALTER TABLE budget_tracking DROP CONSTRAINT budget_tracking_pkey,
    ADD CONSTRAINT budget_tracking_pkey PRIMARY KEY USING INDEX budget_tracking_one_row
"""

# The table is locked already.
DROP_NEWEST = """
-- squawk-ignore require-concurrent-index-deletion
DROP INDEX budget_tracking_newest
"""


def upgrade() -> None:
    op.create_table(
        "budget_periods",
        sa.Column("campaign_id", sa.String(collation="C"), nullable=False, comment="Campaign"),
        sa.Column("period", sa.Text(), nullable=False, comment="hour, day or lifetime"),
        sa.Column("period_start", sa.DateTime(timezone=True), nullable=False, comment="Start of the period"),
        sa.PrimaryKeyConstraint("campaign_id", "period", "period_start", name=op.f("budget_periods_pkey")),
        comment="Every period that a row of budget_tracking was opened for, so that it is opened once",
    )
    op.execute("GRANT SELECT, INSERT, UPDATE ON budget_periods TO adserver_app")
    op.execute(OPEN)
    op.execute(KEEP)
    # The strongest lock first: who has a weaker one, and then wants this, is in the way of those who want it too.
    op.execute("LOCK TABLE budget_tracking IN ACCESS EXCLUSIVE MODE")
    for trigger in TRIGGERS:
        op.execute(trigger)
    op.execute(INDEX.format(columns="campaign_id, period, period_start, generation"))
    op.execute(SWAP)
    # What it was for, the primary key does.
    op.execute(DROP_NEWEST)


def downgrade() -> None:
    op.execute("LOCK TABLE budget_tracking IN ACCESS EXCLUSIVE MODE")
    op.execute(INDEX.format(columns="campaign_id, period, period_start"))
    op.execute(SWAP)
    op.execute(
        "CREATE INDEX budget_tracking_newest ON budget_tracking (campaign_id, period, period_start, generation DESC)"
    )
    for name, function in (
        ("budget_period_has_one_row", "open_budget_period"),
        ("budget_period_is_kept", "keep_budget_period"),
    ):
        op.execute(f"DROP TRIGGER {name} ON budget_tracking")
        op.execute(f"DROP FUNCTION {function}()")
    op.drop_table("budget_periods")
