"""Export of publishers, advertisers and orders as entries of a campaign file."""

import tomllib
from decimal import Decimal

import pytest

from app.campaign_file.exporter import to_entry, to_toml
from app.campaign_file.parser import read_draft
from app.domain import Advertiser, Catalog, CatalogItem, Creative, InvalidTraffic, MediaFile, Order, Publisher
from tests.unit.campaign_file.examples import ordered

MP3 = MediaFile("https://cdn.example/a.mp3", "audio/mpeg")
CREATIVE = {
    "id": "c",
    "campaign_id": "spring",
    "title": "C",
    "media_files": [{"url": MP3.url, "type": MP3.type, "delivery": "progressive"}],
    "universal_ad_id_registry": "unknown",
    "status": "active",
    "weight": 1,
    "position": "any",
    "bumper": False,
}


@pytest.mark.parametrize(
    ("item", "entry"),
    [
        (Advertiser("Acme", "Acme"), {"id": "Acme"}),
        (
            Advertiser("acme", "Acme Inc.", "Acme Inc.\n1 Main Street"),
            {"id": "acme", "name": "Acme Inc.", "billing_details": "Acme Inc.\n1 Main Street"},
        ),
        (Publisher("tv", "tv"), {"id": "tv", "revenue_share": "0.00", "invalid_traffic": "serve"}),
        (
            Publisher("tv", "TV Ltd.", Decimal("0.7125"), 100, None, InvalidTraffic.REFUSE),
            {
                "id": "tv",
                "name": "TV Ltd.",
                "revenue_share": "0.7125",
                "requests_per_s": 100,
                "invalid_traffic": "refuse",
            },
        ),
        (Creative("c", "spring", "C", Decimal("15.000"), (MP3,)), {**CREATIVE, "duration_s": 15}),
        (Creative("c", "spring", "C", Decimal("29.970"), (MP3,)), {**CREATIVE, "duration_s": 29.97}),
        (Order("o", "acme", "USD"), {"id": "o", "advertiser": "acme", "currency": "USD", "prepaid": False}),
        (
            Order("o", "acme", "USD", budget=Decimal(0), impressions=0, prepaid=True),
            {
                "id": "o",
                "advertiser": "acme",
                "currency": "USD",
                "budget": "0.00",
                "impressions": 0,
                "prepaid": True,
            },
        ),
    ],
)
def test_an_entry_has_the_values_that_its_defaults_do_not_say(item: CatalogItem, entry: dict[str, object]) -> None:
    assert to_entry(item) == entry


def test_an_export_has_the_same_publishers_advertisers_and_orders() -> None:
    items = read_draft("test.toml", {name: ordered()[name] for name in ("publishers", "advertisers", "orders")}).items
    publishers = {item.id: item for item in items if isinstance(item, Publisher)}
    advertisers = {item.id: item for item in items if isinstance(item, Advertiser)}
    orders = {item.id: item for item in items if isinstance(item, Order)}
    exported = to_toml(Catalog(1, None, {}, {}, {}, {}, publishers, advertisers, orders))
    assert len(items) == 3
    assert read_draft("test.toml", tomllib.loads(exported)).items == items
