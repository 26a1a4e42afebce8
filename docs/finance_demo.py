"""The books that docs/finance.md asks: seven weeks of three campaigns, two orders and two publishers.

They are booked by the code that serves and settles, in a database whose clock is set back, and are the same to the last
digit every time.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from uuid import UUID

import asyncpg
from asyncpg import Connection, Record

from app.accounting.correction_sets import SetReversal, reverse_set
from app.accounting.corrections import Adjustment, Reversal, adjust, reverse
from app.accounting.credits import Credit, credit_order
from app.accounting.month_close import close_month
from app.accounting.third_party import CountFile, import_counts
from app.beacons.settlement import settle
from app.campaign_file.apply import apply
from app.campaign_file.parser import read_draft
from app.launch.databases import command_store
from app.maintenance.tasks import Maintenance
from app.store import budget_periods, delivery, request_counts, spending
from app.store.connections import Store
from app.store.correction_sets import Condition
from app.store.delivery import RequestPlace
from app.store.holds import Beacon
from app.store.setup_history import ChangeOrigin
from app.store.spending import Payment
from app.store.third_party import Count

BEGINS = datetime(2026, 10, 1, 16, tzinfo=UTC)
ENDS = datetime(2026, 11, 20, 16, tzinfo=UTC)
STEP = timedelta(days=3, hours=6)
RETENTION_DAYS = 400

ADS = {"acme-autumn": 90, "acme-launch": 60, "bella-dolci": 40}
"""Ads requested in each round, by campaign."""
SHOWN = ("impression", "start", "firstQuartile", "midpoint", "thirdQuartile", "complete")
SEEN, FAILED = 0.8, 0.03
"""Shares of the ads that are charged when they are seen."""

ADVERTISERS = (
    {"id": "acme", "name": "Acme Inc", "billing_details": "1 Main Street\nSpringfield"},
    {"id": "bella", "name": "Bella SpA", "billing_details": "Via Roma 1\nTorino"},
)
ORDERS = (
    {"id": "acme-q4", "advertiser": "acme", "currency": "USD", "budget": "80.00", "purchase_order": "PO 7001"},
    {"id": "bella-q4", "advertiser": "bella", "currency": "EUR", "prepaid": True},
)
PUBLISHERS = (
    {"id": "daily-news", "name": "Daily News", "revenue_share": "0.7"},
    {"id": "film-club", "name": "Film Club", "revenue_share": "0.55"},
)

COUNTRIES, DEVICES = ("US", "CA"), ("ctv", "mobile", "ctv")

PLAYED = 0.75
"""Share of the ads seen that are played to the end."""

THEIR_COUNTS = {2: 45, 6: 47, 9: 48, 12: 51}
"""Impressions that a third party counted for acme-launch, by day of November."""

FLIGHT = {"starts_at": datetime(2026, 10, 1, tzinfo=UTC), "ends_at": datetime(2027, 1, 1, tzinfo=UTC)}
CAMPAIGNS = (
    {
        "id": "acme-autumn",
        "advertiser": "acme",
        "order": "acme-q4",
        "currency": "USD",
        "timezone": "America/New_York",
        "cpm": "12.50",
        "billing": "serve",
        "budgets": {"lifetime": "16.50", "day": "2.00"},
    },
    {
        "id": "acme-launch",
        "advertiser": "acme",
        "order": "acme-q4",
        "currency": "USD",
        "timezone": "America/Los_Angeles",
        "cpm": "20.00",
        "billing": "impression",
        "budgets": {"lifetime": "50.00"},
    },
    {
        "id": "bella-dolci",
        "advertiser": "bella",
        "order": "bella-q4",
        "currency": "EUR",
        "timezone": "Europe/Rome",
        "cpm": "25.00",
        "billing": "impression",
        "budgets": {"lifetime": "40.00"},
    },
)

NEW_PRICE_ON, NEW_PRICE = date(2026, 11, 6), "14.00"
"""From when on acme-autumn costs more."""

CLOCK = "CREATE OR REPLACE FUNCTION adserver_clock() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE RETURN {}"
"""Sets the time of every rule of this database."""

FIRST_ENTRY = "SELECT min(entry_id) FROM spend_ledger WHERE campaign_id = $1 AND booked_at >= $2"
"""The first entry of a campaign since a moment."""


async def make_books(owner_url: str) -> None:
    """Fills an empty, migrated database; its clock stands still at the end."""
    random = Random(20)  # noqa: S311 - the same books every time
    owner = await asyncpg.connect(owner_url)
    try:
        async with command_store(owner_url) as store:
            moment = BEGINS
            await _set_clock(owner, moment)
            await _set_up(store)
            await credit_order(
                owner, Credit("bella-q4", Decimal("13.00"), "bank transfer of 2026-09-28", "payment-88120")
            )
            while moment < ENDS:
                await _set_clock(owner, moment)
                if moment.date() == NEW_PRICE_ON:
                    await _raise_price(store)
                await _trade(store, random, moment.date())
                moment += STEP
            await _set_clock(owner, ENDS)
            await _trade(store, random, ENDS.date())
        await _correct(owner)
        await close_month(owner, date(2026, 10, 1))
    finally:
        await owner.close()


async def _set_up(store: Store) -> None:
    media_files = [{"url": "https://cdn.example/a.mp4", "type": "video/mp4", "width": 640, "height": 360}]
    draft = {
        "advertisers": [*ADVERTISERS],
        "orders": [*ORDERS],
        "publishers": [*PUBLISHERS],
        "campaigns": [{**values, **FLIGHT} for values in CAMPAIGNS],
        "creatives": [
            {
                "id": f"{values['id']}-15s",
                "campaign_id": values["id"],
                "title": "Demo",
                "duration_s": 15,
                "media_files": media_files,
            }
            for values in CAMPAIGNS
        ],
        "placements": [
            {"id": "preroll", "publisher_id": "daily-news", "campaigns": ["acme-autumn", "acme-launch"]},
            {"id": "midroll", "publisher_id": "film-club", "campaigns": ["bella-dolci"]},
        ],
    }
    await apply(store, read_draft("demo", draft), origin=ChangeOrigin("file autumn.toml", "dana"))


async def _raise_price(store: Store) -> None:
    draft = {"campaigns": [{**CAMPAIGNS[0], **FLIGHT, "cpm": NEW_PRICE}]}
    await apply(store, read_draft("demo", draft), origin=ChangeOrigin("file november.toml", "robin"))


async def _set_clock(owner: "Connection[Record]", moment: datetime) -> None:
    await owner.execute(CLOCK.format(f"timestamptz '{moment.isoformat()}'"))


async def _trade(store: Store, random: Random, day: date) -> None:
    """Releases what was never seen, serves, and settles most of what is charged when it is seen."""
    upkeep = Maintenance(store, RETENTION_DAYS)
    for task in ("partitions created", "holds released", "days rolled up", "hours rolled up"):
        await upkeep.tasks[task].run()
    async with store.serving_connection() as connection:
        await budget_periods.open_periods(connection, list(ADS))
        for campaign_id, count in ADS.items():
            payments = [_payment(random, campaign_id, position) for position in range(count)]
            async with connection.transaction():
                refusals = (await spending.spend(connection, payments)).refusals
            served = [payment for position, payment in enumerate(payments) if position not in refusals]
            await settle(connection, _beacons(random, served, day))
            await request_counts.add(connection, Counter(refusals.get(position, "served") for position in range(count)))
            places = Counter(RequestPlace(ad.placement_id, ad.country, ad.device_type) for ad in payments)
            await delivery.add_requests(connection, places)


def _payment(random: Random, campaign_id: str, position: int) -> Payment:
    placement = "midroll" if campaign_id == "bella-dolci" else "preroll"
    key = UUID(int=random.getrandbits(128), version=4)
    ad = Payment(key, 0, campaign_id, f"{campaign_id}-15s", None, placement, None, None, 0)
    return ad._replace(country=COUNTRIES[position % len(COUNTRIES)], device_type=DEVICES[position % len(DEVICES)])


def _beacons(random: Random, served: Sequence[Payment], day: date) -> list[Beacon]:
    beacons = []
    for payment in served:
        chance = random.random()
        events = SHOWN if chance < SEEN * PLAYED else SHOWN[:3] if chance < SEEN else ("error",)
        if chance < SEEN + FAILED:
            beacons += [Beacon(payment.request_key, payment.slot, day, payment.campaign_id, event) for event in events]
    return beacons


async def _correct(owner: "Connection[Record]") -> None:
    await adjust(owner, Adjustment("acme-autumn", Decimal("-1.50"), "make-good for 2026-10-14", "credit-2026-117"))
    entry = await owner.fetchval(FIRST_ENTRY, "acme-launch", datetime(2026, 11, 1, tzinfo=UTC))
    await reverse(owner, Reversal(entry, "the viewer was a monitor", "fraud-2026-031"))
    outage = Condition(
        "acme-launch", since=datetime(2026, 11, 16, tzinfo=UTC), until=datetime(2026, 11, 17, tzinfo=UTC)
    )
    await reverse_set(owner, SetReversal(outage, "no sound", "outage-2026-11-16"), lambda _done, _total: None)
    counts = [Count(date(2026, 11, day), "acme-launch", impressions) for day, impressions in THEIR_COUNTS.items()]
    await import_counts(owner, "verifier", CountFile(Path("counts.csv"), dict.fromkeys(counts, 1)))
