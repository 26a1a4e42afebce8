"""The cached catalog of a server: updating it reads only the changes and gives the same result as a full read."""

from collections.abc import Sequence

import pytest

from app.campaign_file.apply import apply
from app.campaign_file.parser import read_draft
from app.store import catalog_writer
from app.store.connections import Store
from tests.integration.setup.files import Document, apply_document, campaign, creative, loaded, owned
from tests.players import connected
from tests.unit.campaign_file.examples import document

UPSTREAM = {"id": "primary", "tag_url": "http://ads.example/other"}
CHANGES: Sequence[Document] = (
    {"publishers": [{"id": "tv", "requests_per_s": 5}]},
    {"upstreams": [UPSTREAM, {"id": "another", "tag_url": "http://ads.example/vast"}]},
    {"campaigns": [campaign("network", upstreams=["another", "primary"], cpm="3.00")]},
    owned("summer"),
    {"creatives": [creative("a-creative", "spring"), creative("z-creative", "spring")]},
    {"creatives": [creative("a-creative", "spring", title="Another")]},
    {"placements": [{"id": "preroll", "publisher_id": "tv", "campaigns": ["summer", "network"]}]},
    {"placements": [{"id": "postroll", "publisher_id": "radio", "campaigns": ["spring"]}]},
)

BY_HAND = "UPDATE campaigns SET hold_ttl_s = 77 WHERE id = 'spring'"


async def written_down(store: Store) -> list[int]:
    async with store.connection() as connection:
        return [row["revision"] for row in await connection.fetch("SELECT revision FROM catalog_changes ORDER BY 1")]


async def test_after_each_change_a_copy_is_what_a_full_read_returns(store: Store) -> None:
    await apply_document(store, document())
    first = copy = await loaded(store)
    for change in CHANGES:
        assert (await apply_document(store, change)).revision == copy.revision + 1
        copy = await loaded(store, copy)
        assert copy == await loaded(store)
    assert [(creative.id, creative.title) for creative in copy.creatives["spring"]] == [
        ("a-creative", "Another"),
        ("spring-15s", "Spring"),
        ("z-creative", "Spring"),
    ]
    assert await loaded(store, first) == copy
    assert await loaded(store, copy) == copy


async def test_what_has_not_changed_stays_the_same_object(store: Store) -> None:
    await apply_document(store, document())
    before = await loaded(store)
    await apply_document(store, {"campaigns": [campaign("network", upstreams=["primary"], cpm="3.00")]})
    after = await loaded(store, before)
    assert after.campaigns["network"] != before.campaigns["network"]
    assert after.campaigns["spring"] is before.campaigns["spring"]
    assert after.creatives["spring"] is before.creatives["spring"]
    assert after.placements["preroll"] is before.placements["preroll"]


@pytest.mark.parametrize(
    "history",
    [
        "UPDATE catalog SET revision = revision + 1",
        "UPDATE catalog SET revision = revision - 1",
        "UPDATE catalog_changes SET made_at = made_at + interval '1 day'",
        "DELETE FROM catalog_changes",
    ],
    ids=["a revision by hand", "an older revision", "another history", "one that is forgotten"],
)
async def test_where_it_is_not_known_what_changed_everything_is_read(store: Store, database: str, history: str) -> None:
    await apply_document(store, document())
    copy = await loaded(store)
    async with connected(database) as owner:
        await owner.execute(f"{BY_HAND}; {history}")
    assert (await loaded(store, copy)).campaigns["spring"].hold_ttl_s == 77


async def test_who_applies_a_thing_sees_what_was_changed_in_it_by_hand(store: Store) -> None:
    await apply_document(store, document())
    copy = await loaded(store)
    async with store.connection() as connection:
        await connection.execute(BY_HAND)
    draft = read_draft("test.toml", {"campaigns": document()["campaigns"]})
    applied = await apply(store, draft, copy)
    assert (applied.updated, applied.unchanged) == (("campaign spring",), ("campaign network",))


async def test_a_change_of_very_much_is_not_written_down_but_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await apply_document(store, document())
    copy = await loaded(store)
    monkeypatch.setattr(catalog_writer, "ITEMS_MAX", 1)
    await apply_document(store, owned("summer"))
    after = await loaded(store, copy)
    assert after == await loaded(store)
    assert after.created_at is None


async def test_nothing_is_kept_of_revisions_long_past_or_of_another_history(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_writer, "REVISIONS_KEPT", 2)
    await apply_document(store, document())
    for change in CHANGES:
        await apply_document(store, change)
    assert await written_down(store) == [len(CHANGES), len(CHANGES) + 1]
    async with store.connection() as connection:
        await connection.execute("UPDATE catalog SET revision = revision - 2")
    monkeypatch.setattr(catalog_writer, "ITEMS_MAX", 0)
    await apply_document(store, owned("autumn"))
    assert await written_down(store) == []
