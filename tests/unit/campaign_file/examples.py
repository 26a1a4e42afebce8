"""A valid campaign file as a parsed document, and helpers that introduce faults."""

import copy
from datetime import UTC, datetime
from typing import Any

from app.campaign_file.parser import read_draft
from app.errors import FileFault

Document = dict[str, Any]

DOCUMENT: Document = {
    "publishers": [{"id": "tv", "requests_per_s": 100, "burst": 200}],
    "upstreams": [{"id": "primary", "tag_url": "http://127.0.0.1:9001/vast?cb=[CACHEBUSTING]&uid={user_id}"}],
    "campaigns": [
        {
            "id": "spring",
            "advertiser": "Acme",
            "currency": "USD",
            "timezone": "America/New_York",
            "starts_at": datetime(2026, 1, 1, tzinfo=UTC),
            "ends_at": datetime(2027, 1, 1, tzinfo=UTC),
            "cpm": "2500.00",
            "budgets": {"lifetime": "1000.00", "day": "100.00"},
            "frequency_caps": [{"impressions": 3, "per": "day"}],
        },
        {
            "id": "network",
            "advertiser": "The Network",
            "currency": "EUR",
            "starts_at": datetime(2026, 1, 1, tzinfo=UTC),
            "ends_at": datetime(2027, 1, 1, tzinfo=UTC),
            "cpm": "1.25",
            "upstreams": ["primary"],
        },
    ],
    "creatives": [
        {
            "id": "spring-15s",
            "campaign_id": "spring",
            "title": "Spring",
            "duration_s": 15,
            "media_files": [{"url": "https://cdn.example/a.mp4", "type": "video/mp4", "width": 1280, "height": 720}],
        }
    ],
    "placements": [
        {
            "id": "preroll",
            "publisher_id": "tv",
            "campaigns": ["spring", "network"],
            "ad_breaks": [{"id": "pre", "time_offset": "start"}],
        }
    ],
}


def document() -> Document:
    """Return a copy of the document to modify."""
    return copy.deepcopy(DOCUMENT)


def ordered() -> Document:
    """Return the document with an order, whose advertiser and publisher have names."""
    changed = document()
    changed["publishers"][0] |= {"name": "TV Ltd.", "revenue_share": "0.7"}
    changed["advertisers"] = [{"id": "Acme", "name": "Acme Inc.", "billing_details": "Acme Inc.\n1 Main Street"}]
    changed["orders"] = [
        {
            "id": "acme-2026",
            "advertiser": "Acme",
            "currency": "USD",
            "starts_at": datetime(2026, 1, 1, tzinfo=UTC),
            "ends_at": datetime(2027, 1, 1, tzinfo=UTC),
            "budget": "5000.00",
            "impressions": 2000,
            "purchase_order": "PO-4711",
        }
    ]
    changed["campaigns"][0]["order"] = "acme-2026"
    return changed


def spoiled(key: str, value: object) -> Document:
    """`ordered` with another value under a key such as `campaigns[0].cpm`; `...` takes the key away."""
    changed = ordered()
    *path, last = [int(part) if part.isdigit() else part for part in key.replace("]", "").replace("[", ".").split(".")]
    owner: Any = changed
    for part in path:
        owner = owner[part]
    if value is ...:
        del owner[last]
    else:
        owner[last] = value
    return changed


def faults_of(changed: Document) -> tuple[FileFault, ...]:
    return read_draft("test.toml", changed).faults
