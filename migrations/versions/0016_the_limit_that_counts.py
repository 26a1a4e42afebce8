"""Finance sees the limit that counts where a budget was lowered.

Revision ID: 0016
Revises: 0015
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

# A lowered budget leaves its running row the limit that what is spent and held needs, and nothing is served above the
# budget when holds end: then the row's own limit says too much. Periods that are over keep the limit that they had.
# The type is said again because greatest() forgets that of money.
BUDGETS = """
SELECT t.campaign_id, c.advertiser, t.period, t.period_start, c.currency, l."limit", t.spent, t.held,
       l."limit" - t.spent - t.held AS remaining,
       CASE WHEN l."limit" = 0 THEN 100 ELSE round((t.spent + t.held) * 100 / l."limit", 2) END AS percentage_spent,
       public.budget_pace(l."limit", t.period, t.period_start, 'even', c.starts_at, c.ends_at, c.timezone) AS even_pace,
       r.running, t.impressions
FROM public.budget_tracking t JOIN public.campaigns c ON c.id = t.campaign_id
CROSS JOIN LATERAL (
    SELECT t.period_start = public.window_start(t.period, public.adserver_clock(), c.timezone) AS running
) AS r
LEFT JOIN public.campaign_budgets b ON r.running AND b.campaign_id = t.campaign_id AND b.period = t.period
CROSS JOIN LATERAL (
    SELECT CASE WHEN b."limit" IS NULL THEN t."limit" ELSE greatest(b."limit", t.spent + t.held)::numeric(18,6) END
        AS "limit"
) AS l
"""


def upgrade() -> None:
    op.execute(f"CREATE OR REPLACE VIEW finance.budgets AS {BUDGETS}")


def downgrade() -> None:
    before: str = op.get_context().script.get_revision("0006").module.BUDGETS
    op.execute(f"CREATE OR REPLACE VIEW finance.budgets AS {before}")
