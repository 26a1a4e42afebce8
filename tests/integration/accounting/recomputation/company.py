"""The company of the recomputation, as its campaign files have it: four timezones, two currencies, three orders."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

Item = Mapping[str, Any]
File = Mapping[str, Sequence[Item]]

NOW = datetime(2037, 11, 28, 18, 3, tzinfo=UTC)
"""When the views are compared. Every part of a flight or day that has passed by then is a finite decimal.

The year is so far ahead that tokens have not expired, and timezone data still have its days of daylight saving time."""

FLIGHT = {"starts_at": NOW - timedelta(days=96), "ends_at": NOW + timedelta(days=32)}

ADVERTISERS = (
    {"id": "acme", "name": "Acme Inc", "billing_details": "1 Main Street\nSpringfield"},
    {"id": "bella", "name": "Bella SpA", "billing_details": "Via Roma 1"},
    {"id": "indra", "name": "Indra"},
    {"id": "house", "name": "House"},
)
ORDERS = (
    {"id": "acme-usd", "advertiser": "acme", "currency": "USD", "budget": "180", "purchase_order": "PO 1", **FLIGHT},
    {"id": "bella-eur", "advertiser": "bella", "currency": "EUR", "prepaid": True, "impressions": 5000},
)
PUBLISHERS = (
    {"id": "news", "name": "News", "revenue_share": "0.5"},
    {"id": "film", "name": "Film", "revenue_share": "0.3333"},
    {"id": "radio", "name": "Radio"},
)

US_VIDEO: Item = {
    "id": "us-video",
    "advertiser": "acme",
    "order": "acme-usd",
    "currency": "USD",
    "timezone": "America/New_York",
    "cpm": "2500.125",
    "billing": "serve",
    "budgets": {"day": "7.501", "lifetime": "900"},
    **FLIGHT,
}
"""Three ads a day; half of its price ends between two millionths."""
NZ_LAUNCH: Item = {
    "id": "nz-launch",
    "advertiser": "acme",
    "order": "acme-usd",
    "currency": "USD",
    "timezone": "Pacific/Auckland",
    "cpm": "1234.567",
    "billing": "impression",
    "late_impressions": "charge",
    "hold_ttl_s": 7200,
    "budgets": {"lifetime": "500"},
    **FLIGHT,
}
DE_PREPAID: Item = {
    "id": "de-prepaid",
    "advertiser": "bella",
    "order": "bella-eur",
    "currency": "EUR",
    "timezone": "Europe/Berlin",
    "cpm": "2500.375",
    "billing": "impression",
    "hold_ttl_s": 14_400,
    "budgets": {"day": "25"},
    **FLIGHT,
}
IN_BRAND: Item = {
    "id": "in-brand",
    "advertiser": "indra",
    "currency": "EUR",
    "timezone": "Asia/Kolkata",
    "cpm": "777.777",
    "billing": "serve",
    "budgets": {"hour": {"amount": "4", "impressions": 4}, "lifetime": {"impressions": 400}},
    "frequency_caps": [{"impressions": 2, "per": "day"}],
    "without_user": "serve",
    "direct": True,
    **FLIGHT,
}
IN_NETWORK: Item = {
    "id": "in-network",
    "advertiser": "indra",
    "currency": "EUR",
    "timezone": "Asia/Kolkata",
    "cpm": "50.001",
    "billing": "impression",
    "late_impressions": "charge",
    "upstreams": ["network"],
    "budgets": {"lifetime": "100"},
    **FLIGHT,
}
FREE: Item = {
    "id": "free",
    "advertiser": "house",
    "currency": "USD",
    "timezone": "America/New_York",
    "cpm": "0",
    "billing": "serve",
    **FLIGHT,
}
CAMPAIGNS = (US_VIDEO, NZ_LAUNCH, DE_PREPAID, IN_BRAND, IN_NETWORK, FREE)

PLACEMENTS = (
    {"id": "news-preroll", "publisher_id": "news", "campaigns": ["us-video", "free"]},
    {"id": "news-home", "publisher_id": "news", "campaigns": ["nz-launch"]},
    {"id": "film-pod", "publisher_id": "film", "campaigns": ["de-prepaid", "in-brand", "nz-launch"]},
    {"id": "film-midroll", "publisher_id": "film", "campaigns": ["de-prepaid"]},
    {"id": "radio-spot", "publisher_id": "radio", "campaigns": ["in-network", "in-brand"]},
)

NEW_PRICE: File = {"campaigns": [{**US_VIDEO, "cpm": "2500.375"}]}
NEW_NAMES: File = {
    "advertisers": [{**ADVERTISERS[0], "name": "Acme Group"}, {**ADVERTISERS[1], "billing_details": "Via Po 2"}],
    "publishers": [{**PUBLISHERS[0], "revenue_share": "0.4567"}, {**PUBLISHERS[1], "name": "Cinema"}],
    "orders": [{**ORDERS[0], "purchase_order": "PO 2"}],
}
NEW_ORDER: File = {
    "orders": [
        {**ORDERS[0], "purchase_order": "PO 2", "budget": "300"},
        {"id": "indra-eur", "advertiser": "indra", "currency": "EUR", "budget": "60"},
    ],
    "campaigns": [{**IN_BRAND, "order": "indra-eur"}, {**IN_NETWORK, "order": "indra-eur"}],
}
LESS: File = {
    "campaigns": [
        {**US_VIDEO, "cpm": "2500.375", "status": "paused"},
        {**NZ_LAUNCH, "budgets": {"lifetime": "1.5"}},
    ]
}
"""A campaign is paused, and another gets a budget that is less than what it has used."""


def creative(campaign_id: str, duration_s: int) -> Item:
    return {
        "id": f"{campaign_id}-{duration_s}s",
        "campaign_id": campaign_id,
        "title": campaign_id,
        "duration_s": duration_s,
        "click_through": "https://shop.example/",
        "media_files": [{"url": "https://cdn.example/a.mp4", "type": "video/mp4", "width": 640, "height": 360}],
    }


CREATIVES = [
    creative(values["id"], seconds) for values in CAMPAIGNS if "upstreams" not in values for seconds in (15, 30)
]


def first_file(network_url: str) -> File:
    """What the company starts with; its upstream is at this URL."""
    return {
        "advertisers": ADVERTISERS,
        "orders": ORDERS,
        "publishers": PUBLISHERS,
        "upstreams": [{"id": "network", "tag_url": network_url, "timeout_ms": 5000}],
        "campaigns": CAMPAIGNS,
        "creatives": CREATIVES,
        "placements": PLACEMENTS,
    }
