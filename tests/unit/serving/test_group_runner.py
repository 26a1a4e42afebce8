"""The consequences of a group's result, and of its errors, for its requests."""

import asyncpg
import pytest
from structlog.testing import capture_logs

from app.domain import NoFillReason
from app.errors import InvalidRequest, StoreUnavailable
from app.observer import Observer
from app.serving import group_runner
from app.serving.group_result import GroupResult
from app.serving.group_runner import ATTEMPTS_MAX
from app.serving.outcomes import NoFill, Served
from app.serving.pending import PendingRequest
from app.serving.transaction import MissingPeriodError, StaleCatalogError
from tests.fake_clock import let_tasks_run
from tests.unit.serving.scripted_server import Attempt, ScriptedServer, defer, raising, running, serve

BUSY = NoFill(NoFillReason.BUSY)


def recording(seen: list[PendingRequest], then: Attempt) -> Attempt:
    """An attempt that notes its requests."""

    async def attempt(group: list[PendingRequest]) -> GroupResult:
        seen.extend(group)
        return await then(group)

    return attempt


async def until_done(server: ScriptedServer, results: int = 1) -> None:
    await server.until(lambda: len(server.results) >= results)


@pytest.mark.parametrize("error", [StaleCatalogError(), MissingPeriodError()], ids=lambda error: type(error).__name__)
async def test_a_group_that_is_restarted_loses_no_attempt(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    seen: list[PendingRequest] = []
    attempts = [*[raising(error)] * (ATTEMPTS_MAX + 1), recording(seen, serve)]
    async with running(monkeypatch, *attempts) as server:
        server.submit()
        await until_done(server)
        assert isinstance(server.results[0], Served)
        assert seen[0].progress.attempts == 0
        assert not seen[0].progress.may_have_been_served


async def test_a_deferred_request_loses_no_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, *[defer] * (ATTEMPTS_MAX + 1), serve) as server:
        server.submit()
        await until_done(server)
        assert isinstance(server.results[0], Served)


async def test_an_error_after_the_requests_were_queued_again_costs_no_request_and_no_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors = iter([RuntimeError("the observer failed")])

    def group_finished(*_: object) -> None:
        for error in errors:
            raise error

    monkeypatch.setattr(Observer, "group_finished", group_finished)
    async with running(monkeypatch, defer, serve, serve) as server:
        with capture_logs() as logs:
            server.submit()
            await until_done(server)
        server.submit()
        await until_done(server, 2)
    assert [type(result) for result in server.results] == [Served, Served]
    assert [line["event"] for line in logs] == ["group_failed"]


async def test_after_an_unknown_commit_the_next_attempt_looks_for_an_earlier_serve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for bound in ("RECONNECT_MIN_S", "RECONNECT_MAX_S"):
        monkeypatch.setattr(group_runner, bound, 0)
    seen: list[PendingRequest] = []
    lost = raising(StoreUnavailable("gone"))
    async with running(monkeypatch, lost, recording(seen, serve)) as server:
        with capture_logs() as logs:
            server.submit()
            await until_done(server)
        assert (seen[0].progress.may_have_been_served, seen[0].progress.isolate) == (True, False)
    assert [line["event"] for line in logs] == ["serving_connection_lost"]


async def test_a_request_that_met_a_unique_violation_twice_is_isolated(monkeypatch: pytest.MonkeyPatch) -> None:
    isolated: list[bool] = []

    async def violate(group: list[PendingRequest]) -> GroupResult:
        isolated.append(group[0].progress.isolate)
        raise asyncpg.UniqueViolationError("duplicate key")

    async with running(monkeypatch, violate, violate, violate) as server:
        server.submit()
        await until_done(server)
        assert isolated == [False, False, True]
        assert server.results == [BUSY], "alone it fails no other request, and would fail again"


async def test_a_request_that_is_always_alone_is_tried_as_often_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for bound in ("RECONNECT_MIN_S", "RECONNECT_MAX_S"):
        monkeypatch.setattr(group_runner, bound, 0)
    lost, violated = raising(StoreUnavailable("gone")), raising(asyncpg.UniqueViolationError("duplicate key"))
    async with running(monkeypatch, lost, violated, serve) as server:
        server.submit(min_ads=2)
        await until_done(server)
        assert [type(result) for result in server.results] == [Served]


async def test_requests_of_a_group_that_waited_too_long_for_a_lock_are_served_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []

    async def count(group: list[PendingRequest]) -> GroupResult:
        sizes.append(len(group))
        if len(group) > 1:
            raise asyncpg.LockNotAvailableError("canceling statement due to lock timeout")
        return await serve(group)

    async with running(monkeypatch) as server:
        server.attempts += [server.hold, count, count, count]
        server.submit()
        await server.taken.wait()
        server.submit()
        server.submit()
        server.released.set()
        await until_done(server, 3)
        assert sizes == [2, 1, 1]
        assert all(isinstance(result, Served) for result in server.results)


async def test_a_request_whose_group_fails_too_often_is_declined(monkeypatch: pytest.MonkeyPatch) -> None:
    for bound in ("RECONNECT_MIN_S", "RECONNECT_MAX_S"):
        monkeypatch.setattr(group_runner, bound, 0)
    lost = raising(StoreUnavailable("gone"))
    async with running(monkeypatch, *[lost] * (ATTEMPTS_MAX + 1)) as server:
        server.submit()
        await until_done(server)
        assert server.results == [BUSY]


async def test_an_unexpected_error_is_logged_and_the_request_tried_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, raising(ZeroDivisionError()), serve) as server:
        with capture_logs() as logs:
            server.submit()
            await until_done(server)
        assert isinstance(server.results[0], Served)
    assert [(line["event"], line["lane"], line["size"]) for line in logs] == [("group_failed", "serve", 1)]


async def test_an_answer_that_cannot_be_rendered_fails_its_own_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async def break_rendering(group: list[PendingRequest]) -> GroupResult:
        result = await serve(group)
        result.served[0][1].render_error = ZeroDivisionError()
        return result

    async with running(monkeypatch, break_rendering) as server:
        server.submit()
        await until_done(server)
        assert isinstance(server.results[0], ZeroDivisionError)


async def test_an_unknown_campaign_is_looked_up_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as server:
        server.submit("new")
        await until_done(server)
        (error,) = server.results
        assert isinstance(error, InvalidRequest)
        assert str(error) == "campaign_id: unknown campaign_id"


async def test_a_client_that_left_while_its_campaign_was_looked_up_is_not_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(monkeypatch) as server:
        server.loaded.clear()
        context = server.submit("new")
        await server.reloading.wait()
        context.close()
        monkeypatch.setattr(server, "current", server.with_campaign("new"))
        server.loaded.set()
        await let_tasks_run()
        assert server.adserver.waiting == {"serve": 0, "fetch": 0}
        assert server.results == []
