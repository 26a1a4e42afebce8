"""Requests by day and outcome, so that finance can tell the fill rate.

Revision ID: 0012
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0010"
branch_labels = None
depends_on = None

# An ad that is asked for again is no new request, and what was malformed is none at all.
FILL_RATE_DAILY = """
SELECT requested_on, sum(requests)::bigint AS requests,
       coalesce(sum(requests) FILTER (WHERE outcome = 'served'), 0)::bigint AS filled,
       round(coalesce(sum(requests) FILTER (WHERE outcome = 'served'), 0) * 100.0 / sum(requests), 2) AS fill_percentage
FROM public.requests_daily WHERE outcome NOT IN ('repeat', 'error') GROUP BY requested_on
"""

NO_FILL_DAILY = """
SELECT requested_on, outcome AS reason, requests
FROM public.requests_daily WHERE outcome NOT IN ('served', 'repeat', 'error')
"""

VIEWS = {
    "fill_rate_daily": (
        FILL_RATE_DAILY,
        "Ad requests by UTC day, and the share of them that got an ad",
        {
            "requested_on": "UTC day",
            "requests": "Ad requests, without those that asked again for an ad that was served before",
            "filled": "How many got an ad, or a pod of them",
            "fill_percentage": "filled of requests, in percent",
        },
    ),
    "no_fill_daily": (
        NO_FILL_DAILY,
        "Ad requests that got no ad, by UTC day and reason",
        {
            "requested_on": "UTC day",
            "reason": "Why, in the words of the header X-No-Fill-Reason",
            "requests": "How many",
        },
    ),
}


VERSION = "COMMENT ON SCHEMA finance IS 'What finance reads: views whose columns are a contract{}'"


def upgrade() -> None:
    op.create_table(
        "requests_daily",
        sa.Column("requested_on", sa.Date(), nullable=False, comment="UTC day"),
        sa.Column("outcome", sa.Text(), nullable=False, comment="served, repeat, error, or why there was no ad"),
        sa.Column("requests", sa.BigInteger(), nullable=False, comment="How many"),
        sa.PrimaryKeyConstraint("requested_on", "outcome", name=op.f("requests_daily_pkey")),
        comment="Ad requests by outcome, which each server adds to every few seconds: a statistic, not a book",
    )
    op.execute("GRANT SELECT, INSERT, UPDATE ON requests_daily TO adserver_app")
    for name, (query, comment, columns) in VIEWS.items():
        op.execute(f"CREATE VIEW finance.{name} AS {query}")
        op.execute(f"COMMENT ON VIEW finance.{name} IS '{comment}'")
        for column, column_comment in columns.items():
            op.execute(f"COMMENT ON COLUMN finance.{name}.{column} IS '{column_comment}'")
        op.execute(f"GRANT SELECT ON finance.{name} TO adserver_finance, adserver_app")
    op.execute(VERSION.format(", version 1.1"))


def downgrade() -> None:
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW finance.{name}")
    op.drop_table("requests_daily")
    op.execute(VERSION.format(""))
