"""Creatives with a tag in the database: kept, exported, and never without anything to play."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from app.campaign_file.exporter import to_entry
from app.store.connections import Store
from tests.integration.serves import open_store
from tests.integration.setup.files import apply_document, campaign, creative, loaded

TAG_URL = "https://ads.agency.example/vast?cb=[CACHEBUSTING]"
TAG = {
    "id": "agency",
    "campaign_id": "spring",
    "title": "Agency",
    "duration_s": 15,
    "vast_tag_url": TAG_URL,
    "follow_additional_wrappers": False,
    "fallback_on_no_ad": True,
    "impression_urls": ["https://third.example/impression"],
}


@pytest.fixture
async def store(app_database: str) -> AsyncIterator[Store]:
    store = open_store(app_database)
    yield store
    await store.close()


async def test_a_tag_is_kept_as_it_is_and_can_become_a_film(store: Store) -> None:
    await apply_document(store, {"campaigns": [campaign()], "creatives": [TAG]})
    (kept,) = (await loaded(store)).creatives["spring"]
    assert to_entry(kept).items() >= TAG.items()
    assert (await apply_document(store, {"creatives": [to_entry(kept)]})).unchanged == ("creative agency",)
    await apply_document(store, {"creatives": [creative("agency")]})
    (kept,) = (await loaded(store)).creatives["spring"]
    assert (kept.vast_tag_url, kept.follow_additional_wrappers, len(kept.media_files)) == (None, None, 1)


@pytest.mark.parametrize(
    "change",
    ["vast_tag_url = NULL", """media_files = '[{"url": "https://cdn.example/a.mp4"}]'"""],
    ids=["none", "both"],
)
async def test_a_creative_has_either_files_or_a_tag(store: Store, change: str) -> None:
    await apply_document(store, {"campaigns": [campaign()], "creatives": [TAG]})
    async with store.connection() as connection:
        with pytest.raises(asyncpg.CheckViolationError, match="creative_has_files_or_a_tag"):
            await connection.execute(f"UPDATE creatives SET {change}")
