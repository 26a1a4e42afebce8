"""Ads of three campaigns on two placements, served and seen at given moments, for tests of delivery."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from app.beacons.settlement import settle
from app.campaign_file.apply import apply
from app.campaign_file.parser import read_draft
from app.domain import Event
from app.maintenance.tasks import Maintenance
from app.store import budget_periods, spending
from app.store.connections import Store
from app.store.spending import Payment
from tests.integration.accounting.world import beacon_of_day, campaign, payment, set_clock, set_up

DAY = date(2026, 11, 10)
PRICE = Decimal("2.500000")

CHARGED, SEEN, LATE = "charged", "seen", "late"
"""Campaigns: charged when served; charged when seen in time; charged when seen, in time or not."""


async def open_books(store: Store) -> None:
    """Set the campaigns and their placements up."""
    await set_up(
        store,
        campaign(CHARGED, billing="serve"),
        campaign(SEEN, hold_ttl_s=600),
        campaign(LATE, hold_ttl_s=600, late_impressions="charge"),
    )
    placements = [
        {"id": name, "publisher_id": f"{name}-tv", "campaigns": [CHARGED, SEEN, LATE]} for name in ("alpha", "beta")
    ]
    await apply(store, read_draft("test", {"placements": placements}))


async def at(store: Store, database: str, time: str, day: date = DAY) -> None:
    """Set the clock to a time of the day, in UTC, and do what servers do from time to time, except the rollups."""
    await set_clock(database, f"timestamptz '{day} {time}Z'")
    for task in ("partitions created", "holds released"):
        await Maintenance(store, 400).tasks[task].run()


async def roll_up(store: Store) -> None:
    for task in ("days rolled up", "hours rolled up"):
        await Maintenance(store, 400).tasks[task].run()


async def serve(
    store: Store,
    campaign_id: str,
    count: int = 1,
    *,
    placement_id: str | None = "alpha",
    country: str | None = "DE",
    device_type: str | None = "ctv",
) -> list[Payment]:
    payments = [
        payment(campaign_id)._replace(placement_id=placement_id, country=country, device_type=device_type)
        for _ in range(count)
    ]
    async with store.serving_connection() as connection:
        await budget_periods.open_periods(connection, [campaign_id])
        async with connection.transaction():
            assert (await spending.spend(connection, payments)).refusals == {}
    return payments


async def send(store: Store, ads: Sequence[Payment], *events: Event, served_on: date = DAY) -> None:
    """Send the beacons of these events for each ad, one after another, as players do."""
    async with store.serving_connection() as connection:
        for event in events:
            await settle(connection, [beacon_of_day(ad, served_on)._replace(event=event.value) for ad in ads])
