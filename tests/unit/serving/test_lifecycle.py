"""The lifecycle of requests: the table, the code that follows it, and nothing beside it."""

import ast
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import fields
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from app.domain import AdRequest, Catalog, NoFillReason
from app.errors import Conflict, UpstreamFailed
from app.observer import Observer
from app.serving import group_runner, pending
from app.serving.adserver import AdServer
from app.serving.candidates import CandidateResolver
from app.serving.choice import Choice
from app.serving.context import SessionContext, open_context
from app.serving.group_fetch import PendingFetch
from app.serving.group_result import GroupResult
from app.serving.lifecycle import FINAL_STATES, TRANSITIONS, IllegalTransitionError, State, Trigger, advance
from app.serving.limits import ServingLimits
from app.serving.outcomes import NoFill, Served
from app.serving.pending import PendingRequest, Progress
from app.serving.transaction import CatalogMovedError, PeriodsUnopenedError
from tests.unit.serving.pending_requests import Results, campaign, catalog, pending_request

SERVING = Path(pending.__file__).parent
FAR_LONGER_S = 20
FAR_AWAY_S = 3600.0
KNOWN = catalog(campaign("own", direct=True), campaign("network", direct=True, upstreams=("u",)))
Attempt = Callable[[list[PendingRequest]], Awaitable[GroupResult]]


def test_a_trigger_that_a_state_does_not_allow_raises_and_changes_nothing() -> None:
    forbidden = set(product(State, Trigger)) - set(TRANSITIONS)
    assert len(forbidden) == len(State) * len(Trigger) - len(TRANSITIONS)
    for state, trigger in forbidden:
        subject = SimpleNamespace(state=state)
        with pytest.raises(IllegalTransitionError, match=state):
            advance(subject, trigger)
        assert subject.state is state


def test_an_allowed_trigger_leads_to_the_state_of_the_table() -> None:
    for (state, trigger), following in TRANSITIONS.items():
        subject = SimpleNamespace(state=state)
        advance(subject, trigger)
        assert subject.state is following


def test_a_final_state_is_never_left_and_every_other_can_be() -> None:
    assert {state for state, _ in TRANSITIONS} == set(State) - FINAL_STATES
    assert set(TRANSITIONS.values()) == set(State) - {State.NEW}


def assigned_attributes(file: Path) -> set[str]:
    """Names of the attributes that a module assigns, to whichever object."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            names.add(node.attr)
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "setattr":
            names.add("setattr")
    return names


def test_only_advance_assigns_a_state_and_only_a_pending_request_changes_its_progress() -> None:
    progress = {field.name for field in fields(Progress)} - {"state"}
    identity = {field.name for field in fields(PendingRequest)}
    for file in SERVING.glob("*.py"):
        assigned = assigned_attributes(file)
        assert "setattr" not in assigned, file
        assert ("state" in assigned) == (file.name == "lifecycle.py"), file
        if file.name != "pending.py":
            assert assigned.isdisjoint(progress), file
        assert assigned.isdisjoint(identity), file


def test_a_request_that_is_done_stays_as_it_is() -> None:
    results = Results()
    done = pending_request("own", on_done=results)
    done.decline(NoFillReason.BUSY)
    for end in (done.abandon, lambda: done.fail(ValueError()), lambda: done.decline(NoFillReason.BUDGET)):
        end()
    assert (done.progress.state, results) == (State.REFUSED, [NoFill(NoFillReason.BUSY)])


class Rig:
    """An ad server whose transactions are scripted: each attempt takes the next function of `attempts`."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.taken = asyncio.Event()
        """Set when a group waits in `hold`."""
        self.released = asyncio.Event()
        self.current = KNOWN
        self.results = Results()
        self.contexts: list[SessionContext] = []
        resolver = CandidateResolver(self, SimpleNamespace(allow=lambda *_: True), b"key")  # type: ignore[arg-type]
        store = SimpleNamespace(serving_connection=self.connection, connection=self.connection)
        ads = SimpleNamespace(cached=lambda *_: None)
        limits = ServingLimits(FAR_AWAY_S, 1, 1, group_max=8, queue_max=2, serve_connections=1, fetch_connections=1)
        self.adserver = AdServer(store, self, resolver, ads, Observer(), None, limits)  # type: ignore[arg-type]

    async def reload(self, seen: Catalog) -> None:
        """The catalog does not change; a stale group is only restarted."""

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[object]:
        async def fetch(*_: object) -> list[object]:
            return []

        yield SimpleNamespace(is_closed=lambda: False, fetch=fetch)

    async def serve(self, group: list[PendingRequest], _span: object) -> GroupResult:
        """The transaction of the next attempt."""
        return await self.attempts.pop(0)(group)

    def submit(self, campaign_id: str = "own") -> SessionContext:
        context = open_context("r", {})
        self.adserver.submit(AdRequest(campaign_id=campaign_id), context, self.results)
        return context

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when the server has come so far."""
        async with asyncio.timeout(FAR_LONGER_S):
            while not condition():  # noqa: ASYNC110 - the server sets no event
                await asyncio.sleep(0)

    async def hold(self, group: list[PendingRequest]) -> GroupResult:
        """Keep the group until it is released, and then serve it."""
        self.taken.set()
        await self.released.wait()
        return await serve(group)


async def serve(group: list[PendingRequest]) -> GroupResult:
    return GroupResult(served=[(request, Served(request.request_key, None, ())) for request in group])  # type: ignore[arg-type]


async def defer(group: list[PendingRequest]) -> GroupResult:
    return GroupResult(deferred=group)


async def refuse(group: list[PendingRequest]) -> GroupResult:
    for request in group:
        request.confirm_revision()
        for campaign_id in request.remaining:
            request.refuse(campaign_id, NoFillReason.BUDGET)
    return GroupResult(unresolved=group)


async def resolve_nothing(group: list[PendingRequest]) -> GroupResult:
    return GroupResult(unresolved=group)


async def fail(group: list[PendingRequest]) -> GroupResult:
    return GroupResult(failed=[(request, Conflict("another request")) for request in group])


def raising(error: Exception) -> Attempt:
    async def attempt(_group: list[PendingRequest]) -> GroupResult:
        raise error

    return attempt


def fetching(fetch: Callable[[], Awaitable[Any]]) -> Attempt:
    """The group commits while its upstream ads are fetched."""

    async def attempt(group: list[PendingRequest]) -> GroupResult:
        result = GroupResult()
        for request in group:
            request.confirm_revision()
            choice = Choice(request, KNOWN.campaigns["network"], None, None, counted=False)
            result.awaiting_fetch[request] = [PendingFetch(choice, asyncio.ensure_future(fetch()))]  # type: ignore[arg-type]
        return result

    return attempt


async def no_ad() -> None:
    raise UpstreamFailed("u", "no_ad")


async def an_ad() -> object:
    return SimpleNamespace(document=SimpleNamespace(ads=()))


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> set[tuple[State, Trigger]]:
    """The transitions that were made."""
    seen: set[tuple[State, Trigger]] = set()

    def recorded(subject: Progress, trigger: Trigger) -> None:
        before = subject.state
        advance(subject, trigger)
        seen.add((before, trigger))

    monkeypatch.setattr(pending, "advance", recorded)
    return seen


@asynccontextmanager
async def running(monkeypatch: pytest.MonkeyPatch, *attempts: Attempt) -> AsyncIterator[Rig]:
    rig = Rig()
    rig.attempts += attempts
    monkeypatch.setattr(group_runner, "GroupTransaction", lambda *_: rig)
    rig.adserver.start()
    yield rig
    await rig.adserver.stop()
    assert rig.attempts == []


async def test_every_transition_of_the_table_is_made_by_the_server(
    monkeypatch: pytest.MonkeyPatch, passed: set[tuple[State, Trigger]]
) -> None:
    attempts = [
        defer,
        resolve_nothing,
        raising(CatalogMovedError()),
        raising(PeriodsUnopenedError()),
        raising(asyncpg.UniqueViolationError()),
        serve,
        fail,
        refuse,
        fetching(an_ad),
        serve,
        fetching(no_ad),
    ]
    async with running(monkeypatch, *attempts) as rig:
        for number, campaign_id in enumerate(("own", "own", "own", "network", "network"), start=1):
            rig.submit(campaign_id)
            await rig.until(lambda number=number: len(rig.results) == number)  # type: ignore[misc]
        assert [type(result) for result in rig.results] == [Served, Conflict, NoFill, Served, NoFill]
        assert rig.results[2:5:2] == [NoFill(NoFillReason.BUDGET), NoFill(NoFillReason.UPSTREAM)]
    await leave_and_overflow(monkeypatch)
    assert passed == set(TRANSITIONS)


async def leave_and_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients leave in every state in which they can, and more requests come than may wait."""
    never = asyncio.Event()
    async with running(monkeypatch, fetching(never.wait)) as rig:
        awaiting_fetch = rig.submit("network")
        await rig.until(lambda: not rig.attempts and rig.adserver.connections["fetch"] == (0, 1))
        awaiting_fetch.close()
        rig.attempts.append(rig.hold)
        in_group = rig.submit()
        await rig.taken.wait()
        queued = rig.submit()
        rig.submit()
        assert rig.results == []
        rig.submit()
        assert rig.results == [NoFill(NoFillReason.BUSY)], "the queue is full"
        in_group.close()
        queued.close()
        rig.released.set()
    assert rig.results == 2 * [NoFill(NoFillReason.BUSY)], "the server stopped, and two clients had left"
