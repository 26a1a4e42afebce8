"""Parts of campaign files for tests."""

from datetime import UTC, datetime
from typing import Any

from app.campaign_file.apply import ApplyResult, apply
from app.campaign_file.parser import read_draft
from app.domain import Catalog
from app.store import catalog_reader
from app.store.connections import Store

Document = dict[str, Any]

FLIGHT = {"starts_at": datetime(2020, 1, 1, tzinfo=UTC), "ends_at": datetime(2040, 1, 1, tzinfo=UTC)}


def campaign(campaign_id: str = "spring", **keys: object) -> Document:
    """A campaign at 2.50 an ad."""
    return {"id": campaign_id, "advertiser": "Acme", "currency": "USD", "cpm": "2500", **FLIGHT, **keys}


def creative(creative_id: str = "spring-15s", campaign_id: str = "spring", **keys: object) -> Document:
    media = {"url": "https://cdn.example/a.mp4", "type": "video/mp4", "width": 640, "height": 360}
    own = {"id": creative_id, "campaign_id": campaign_id, "title": "Spring", "duration_s": 15, "media_files": [media]}
    return {**own, **keys}


def owned(campaign_id: str = "spring", **keys: object) -> Document:
    """A file of one campaign and its creative."""
    return {
        "campaigns": [campaign(campaign_id, **keys)],
        "creatives": [creative(f"{campaign_id}-15s", campaign_id)],
    }


async def apply_document(store: Store, document: Document) -> ApplyResult:
    return await apply(store, read_draft("test.toml", document))


async def loaded(store: Store, known: Catalog | None = None) -> Catalog:
    """Load the catalog, from a cached one if given."""
    async with store.connection() as connection:
        return await catalog_reader.load(connection, known)
