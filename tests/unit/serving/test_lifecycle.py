"""The lifecycle of requests: the table, the code that follows it, and nothing beside it."""

import ast
import asyncio
from dataclasses import fields
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import asyncpg
import pytest

from app.domain import NoFillReason
from app.errors import Conflict
from app.serving import pending
from app.serving.lifecycle import FINAL_STATES, TRANSITIONS, IllegalTransitionError, State, Trigger, advance
from app.serving.outcomes import NoFill, Served
from app.serving.pending import PendingRequest, Progress
from app.serving.transaction import MissingPeriodError, StaleCatalogError
from tests.unit.serving.pending_requests import Results, pending_request
from tests.unit.serving.scripted_server import (
    an_ad,
    defer,
    fail,
    fetching,
    no_ad,
    raising,
    refuse,
    resolve_nothing,
    running,
    serve,
)

SERVING = Path(pending.__file__).parent


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
    """The names of the attributes that a module assigns, on any object."""
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
    assert (done.progress.state, results) == (State.DECLINED, [NoFill(NoFillReason.BUSY)])


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


async def test_every_transition_of_the_table_is_made_by_the_server(
    monkeypatch: pytest.MonkeyPatch, passed: set[tuple[State, Trigger]]
) -> None:
    attempts = [
        defer,
        resolve_nothing,
        raising(StaleCatalogError()),
        raising(MissingPeriodError()),
        raising(asyncpg.UniqueViolationError()),
        serve,
        fail,
        refuse,
        fetching(an_ad),
        serve,
        fetching(no_ad),
    ]
    async with running(monkeypatch, *attempts) as server:
        for number, campaign_id in enumerate(("own", "own", "own", "network", "network"), start=1):
            server.submit(campaign_id)
            await server.until(lambda number=number: len(server.results) == number)  # type: ignore[misc]
        assert [type(result) for result in server.results] == [Served, Conflict, NoFill, Served, NoFill]
        assert server.results[2:5:2] == [NoFill(NoFillReason.BUDGET), NoFill(NoFillReason.UPSTREAM)]
    await leave_and_overflow(monkeypatch)
    assert passed == set(TRANSITIONS)


async def leave_and_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients leave in every state in which they can, and more requests come than may wait."""
    never = asyncio.Event()
    async with running(monkeypatch, fetching(never.wait)) as server:
        awaiting_fetch = server.submit("network")
        await server.until(lambda: not server.attempts and server.adserver.connections["fetch"] == (0, 1))
        awaiting_fetch.close()
        server.attempts.append(server.hold)
        in_group = server.submit()
        await server.taken.wait()
        queued = server.submit()
        server.submit()
        assert server.results == []
        server.submit()
        assert server.results == [NoFill(NoFillReason.BUSY)], "the queue is full"
        in_group.close()
        queued.close()
        server.released.set()
    assert server.results == 2 * [NoFill(NoFillReason.BUSY)], "the server stopped, and two clients had left"
