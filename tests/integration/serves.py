"""Campaigns and serves put into the database directly, for tests of what comes after serving."""

from collections.abc import Sequence

from app.serving.keys import new_request_key
from app.store import budget_periods, spending
from app.store.connections import Store, Timeouts
from app.store.spending import Payment

CAMPAIGN = """
WITH acme AS (INSERT INTO advertisers (id, name) VALUES ('Acme', 'Acme') ON CONFLICT DO NOTHING)
INSERT INTO campaigns (id, advertiser_id, advertiser, status, currency, timezone, starts_at, ends_at, price_model,
                       price, billing, pacing, without_user, late_impressions, hold_ttl_s)
VALUES ($1, 'Acme', 'Acme', 'active', 'USD', 'UTC', '2020-01-01', '2040-01-01', 'cpm', 2500, 'impression', 'asap',
        'skip', 'ignore', 3600)
"""

BUDGET = "INSERT INTO configured_budgets (campaign_id, period, \"limit\") VALUES ($1, 'lifetime', 1000000)"


def open_store(url: str, *, serving_database: str = "", serving_connections: int = 2, lock_ms: int = 1000) -> Store:
    timeouts = Timeouts(lock_ms=lock_ms, statement_ms=2000, idle_in_transaction_ms=3000)
    return Store(
        url,
        serving_database=serving_database,
        serving_connections=serving_connections,
        general_connections=2,
        timeouts=timeouts,
    )


async def add_campaigns(store: Store, ids: Sequence[str]) -> None:
    """Campaigns that are billed by impression, 2.50 each."""
    async with store.transaction() as connection:
        await connection.executemany(CAMPAIGN, [(campaign_id,) for campaign_id in ids])
        await connection.executemany(BUDGET, [(campaign_id,) for campaign_id in ids])
    async with store.connection() as connection:
        await budget_periods.open_periods(connection, ids)


async def serve_ads(store: Store, campaign_id: str, count: int) -> list[Payment]:
    payments = [Payment(new_request_key(), 0, campaign_id, "creative", None, None, None, None, 0) for _ in range(count)]
    async with store.connection() as connection:
        assert not (await spending.spend(connection, payments)).refusals
    return payments
