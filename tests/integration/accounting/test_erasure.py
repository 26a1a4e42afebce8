"""Counts and serves agree after a user was erased, even if ads are served to the user at the same time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from asyncpg import Connection, LockNotAvailableError, Record

from app.errors import AdServerError
from app.maintenance import erasure
from app.maintenance.erasure import ErasedCounts, erase_viewer
from app.store import caps, partitions, sessions, spending
from app.store.connections import Store
from app.store.serves import store_documents
from app.store.sessions import SessionAd
from app.store.spending import Payment
from tests.integration.accounting.world import campaign, connected, disagreements, payment, serve, set_clock, set_up
from tests.invariants.world import somebody_waits

SEEN = campaign("seen", billing="serve", frequency_caps=[{"impressions": 9, "per": "lifetime"}])
NEW = campaign("new", billing="serve", frequency_caps=[{"impressions": 9, "per": "lifetime"}])

COUNTS_ARE_OLD = "UPDATE campaign_caps SET counts_from = now() - interval '1 hour'"
"""Lets reconcile expect a count for every serve; it is lenient with caps that were set up a moment ago."""

TRACES = """
SELECT (SELECT count(*) FROM ad_serves WHERE user_key = $1),
       (SELECT coalesce(sum(count), 0) FROM frequency_caps WHERE user_key = $1),
       (SELECT count(*) FROM sessions WHERE user_key = $1)
"""


class Viewer:
    """Somebody with a viewing session, who was served one ad in it."""

    def __init__(self, database: str) -> None:
        self.database = database
        self.key, self.session_id = uuid4(), uuid4()

    async def watches(self, connection: "Connection[Record]", campaign_id: str = "seen") -> None:
        assert len(await serve(connection, [payment(campaign_id, self.key, self.session_id)])) == 1

    async def takes(self, connection: "Connection[Record]", campaign_id: str) -> None:
        """Only the first half of being served an ad."""
        taken = await caps.take(connection, [caps.CapIncrement(campaign_id, self.key, self.session_id)])
        assert not taken.shortfalls

    async def pays(self, connection: "Connection[Record]", *campaign_ids: str) -> None:
        """The other half."""
        payments = [payment(campaign_id, self.key, self.session_id) for campaign_id in campaign_ids]
        assert not (await spending.spend(connection, payments)).refusals

    @asynccontextmanager
    async def being_forgotten(self) -> "AsyncIterator[asyncio.Task[ErasedCounts]]":
        """The command, when it waits for a lock that the test has."""
        async with connected(self.database) as owner, asyncio.TaskGroup() as tasks:
            command = tasks.create_task(erase_viewer(owner, [self.key]))
            await somebody_waits(self.database)
            yield command

    async def traces(self) -> tuple[int, int, int]:
        """Serves, counted ads and sessions that are theirs."""
        async with connected(self.database) as connection:
            row = await connection.fetchrow(TRACES, self.key)
        assert row is not None
        return tuple(row.values())


@pytest.fixture
async def viewer(store: Store, database: str) -> Viewer:
    await set_up(store, NEW, SEEN)
    viewer = Viewer(database)
    async with connected(database) as owner:
        await owner.execute(COUNTS_ARE_OLD)
    async with store.serving_connection() as connection:
        await sessions.create(connection, viewer.session_id, viewer.key, None, "1", 3600, 1000)
        await viewer.watches(connection)
    return viewer


async def keep_echo(connection: "Connection[Record]", served: Payment, user_id: str) -> None:
    """Keeps what an upstream sent, with the viewer's id in it, as the server does."""
    document = f"<VAST><Ad id='{user_id}'/></VAST>".encode()
    await store_documents(connection, [(served.request_key, served.slot, document)])


ECHOES = "SELECT string_agg(convert_from(document, 'UTF8'), ' ') FROM served_documents"


async def test_no_document_of_an_upstream_keeps_their_id(store: Store, viewer: Viewer) -> None:
    other = uuid4()
    payments = {
        "u-1": payment("new", viewer.key),
        "u-2": payment("new", viewer.key, viewer.session_id),
        "u-3": payment("new", None, viewer.session_id),
        "other-1": payment("new", other),
        "other-2": payment("new", other, viewer.session_id),
        "other-3": payment("new", None),
    }
    async with store.serving_connection() as serving:
        for user_id, ad in payments.items():
            assert await serve(serving, [ad])
            await keep_echo(serving, ad, user_id)
    async with connected(viewer.database) as owner:
        forgotten = await erase_viewer(owner, [viewer.key])
        echoes = await owner.fetchval(ECHOES)
    assert forgotten.documents == 3
    assert [f"other-{number}" in echoes for number in (1, 2, 3)] == [True] * 3
    assert "'u-" not in echoes
    assert await disagreements(viewer.database) == []


SESSION_TRACES = """
SELECT (SELECT count(*) FROM ad_serves WHERE session_id = $1)
    + (SELECT count(*) FROM frequency_caps WHERE user_key = $1)
"""


@pytest.mark.parametrize(
    "since",
    [
        pytest.param("SELECT", id="theirs"),
        pytest.param("UPDATE sessions SET user_key = NULL", id="begun without a user"),
        pytest.param("DELETE FROM sessions", id="over and removed"),
    ],
)
async def test_a_session_is_forgotten_whole_and_who_else_watched_in_it_is_not(
    store: Store, viewer: Viewer, since: str
) -> None:
    other = Viewer(viewer.database)
    other.session_id = viewer.session_id
    async with store.serving_connection() as serving:
        await set_up(
            store, NEW | {"frequency_caps": [{"impressions": 9, "per": per} for per in ("session", "lifetime")]}
        )
        async with connected(viewer.database) as owner:
            await owner.execute(COUNTS_ARE_OLD)
        await viewer.watches(serving, "new")
        await other.watches(serving, "new")
        await serve(serving, [payment("new", None, viewer.session_id)])
    async with connected(viewer.database) as owner:
        await owner.execute(since)
        await erase_viewer(owner, [viewer.key])
        assert await owner.fetchval(SESSION_TRACES, viewer.session_id) == 0
    assert await disagreements(viewer.database) == []
    assert (await viewer.traces(), await other.traces()) == ((0, 0, 0), (1, 1, 0))


@pytest.mark.parametrize(
    ("campaign_id", "forgotten", "traces"),
    [
        pytest.param("new", ErasedCounts(serves=1, counts=1, sessions=1), (1, 1, 0), id="stays where its count is new"),
        pytest.param(
            "seen", ErasedCounts(serves=2, counts=1, sessions=1), (0, 0, 0), id="goes where there was a count"
        ),
    ],
)
async def test_what_is_served_after_the_beginning(
    store: Store, viewer: Viewer, campaign_id: str, forgotten: ErasedCounts, traces: tuple[int, int, int]
) -> None:
    async with store.serving_connection() as locking, store.serving_connection() as serving:
        lock = locking.transaction()
        await lock.start()
        await sessions.lock(locking, [viewer.session_id])
        async with viewer.being_forgotten() as command:
            await viewer.watches(serving, campaign_id)
            await lock.commit()
    assert await disagreements(viewer.database) == []
    assert (command.result(), await viewer.traces()) == (forgotten, traces)


@pytest.mark.parametrize("commits", [True, False])
async def test_a_group_that_has_locked_the_session_goes_on(store: Store, viewer: Viewer, *, commits: bool) -> None:
    async with store.serving_connection() as serving:
        group = serving.transaction()
        await group.start()
        await sessions.lock(serving, [viewer.session_id])
        async with viewer.being_forgotten():
            await viewer.takes(serving, "seen")
            await viewer.pays(serving, "seen")
            await sessions.record_answers(serving, [SessionAd(viewer.session_id, "seen-video", None)])
            await (group.commit() if commits else group.rollback())
    assert await viewer.traces() == (0, 0, 0)
    assert await disagreements(viewer.database) == []


async def test_a_group_that_has_taken_a_count_goes_on_to_the_next(store: Store, viewer: Viewer) -> None:
    async with store.serving_connection() as serving:
        await viewer.watches(serving, "new")
        group = serving.transaction()
        await group.start()
        await viewer.takes(serving, "new")
        async with viewer.being_forgotten():
            await viewer.takes(serving, "seen")
            await viewer.pays(serving, "new", "seen")
            await group.commit()
    assert await viewer.traces() == (0, 0, 0)
    assert await disagreements(viewer.database) == []


async def test_who_is_served_at_every_attempt_is_not_forgotten(
    store: Store, viewer: Viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "ATTEMPTS_MAX", 1)
    async with store.serving_connection() as serving, connected(viewer.database) as owner:
        group = serving.transaction()
        await group.start()
        await viewer.watches(serving)
        command = asyncio.create_task(erase_viewer(owner, [viewer.key]))
        await somebody_waits(viewer.database)
        await group.commit()
        with pytest.raises(AdServerError, match="served ads without a pause"):
            await command
    assert await viewer.traces() == (2, 2, 1)
    assert await disagreements(viewer.database) == []


async def test_no_serve_moves_to_its_partition_meanwhile(store: Store, viewer: Viewer) -> None:
    await set_clock(viewer.database, "transaction_timestamp() + interval '40 days'")
    async with store.serving_connection() as locking, connected(viewer.database) as other:
        await viewer.watches(locking)
        lock = locking.transaction()
        await lock.start()
        await sessions.lock(locking, [viewer.session_id])
        async with viewer.being_forgotten():
            assert await partitions.has_misplaced_rows(other)
            with pytest.raises(LockNotAvailableError):
                await partitions.make_partitions(other, 7)
            await lock.commit()
    assert await viewer.traces() == (0, 0, 0)
    assert await disagreements(viewer.database) == []
