"""Serves the groups of one lane: takes each from the queue, runs its transaction, and completes its requests."""

import asyncio
import random

import asyncpg
import structlog
from asyncpg import Connection, Record

from app.domain import NoFillReason
from app.errors import StoreUnavailable
from app.observer import Observer
from app.serving.background_tasks import BackgroundTasks
from app.serving.candidates import CandidateResolver
from app.serving.catalogs import CatalogHolder
from app.serving.dispatcher import Dispatcher
from app.serving.group_fetch import PendingFetch
from app.serving.group_result import GroupResult
from app.serving.lane import Lane
from app.serving.lifecycle import Trigger
from app.serving.pending import PendingRequest
from app.serving.transaction import (
    GroupServices,
    GroupTransaction,
    MissingPeriodError,
    PodTooShortError,
    StaleCatalogError,
)
from app.store import budget_periods
from app.store.connections import Store, is_lost_connection

log = structlog.get_logger()

RECONNECT_MIN_S, RECONNECT_MAX_S = 0.05, 0.5
"""A worker that lost its connection waits for a random time between these before it asks for another."""

EXPIRY_INTERVAL_S = 0.02
"""Time between two searches for requests past their deadline, and the most that an answer can be late by."""

DRAIN_S = 5.0
"""Maximum time for which a stopping lane waits for its running groups."""

ATTEMPTS_MAX = 5
"""A request whose group fails more often than this is declined as `busy`."""


class GroupRunner:
    """The connections of one lane, each with a worker that serves one group after the other."""

    def __init__(
        self,
        lane: Lane,
        store: Store,
        connections: int,
        *,
        catalogs: CatalogHolder,
        resolver: CandidateResolver,
        dispatcher: Dispatcher,
        services: GroupServices,
        observer: Observer,
        background_tasks: BackgroundTasks,
    ) -> None:
        self._lane = lane
        self._store = store
        self._connections = connections
        self._catalogs = catalogs
        self._resolver = resolver
        self._dispatcher = dispatcher
        self._services = services
        self._observer = observer
        self._background_tasks = background_tasks
        self._busy = 0
        self._stopping = False
        self._workers: list[asyncio.Task[None]] = []
        self._deadline_watch: asyncio.Task[None] | None = None
        self._clock = asyncio.get_running_loop().time

    def start(self) -> None:
        """Start the workers."""
        name = self._lane.name
        self._workers = [
            asyncio.create_task(self._work(), name=f"{name}-{index}") for index in range(self._connections)
        ]
        self._deadline_watch = asyncio.create_task(self._watch_deadlines(), name=f"{name}-deadlines")

    async def stop(self) -> None:
        """Decline the queued requests as `busy`, and wait up to `DRAIN_S` for the running groups."""
        self._stopping = True
        self._lane.stop()
        if self._workers:
            await asyncio.wait(self._workers, timeout=DRAIN_S)
        tasks = [*self._workers, *([self._deadline_watch] if self._deadline_watch is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def connections(self) -> tuple[int, int]:
        """The number of connections with a running transaction, and the number of all connections."""
        return self._busy, self._connections

    async def _watch_deadlines(self) -> None:
        while True:
            await asyncio.sleep(EXPIRY_INTERVAL_S)
            self._lane.decline_overdue()

    async def _work(self) -> None:
        """Serve groups on one connection after the other, until the lane stops."""
        while not self._stopping:
            try:
                async with self._store.serving_connection() as connection:
                    while await self._lane.wait_until_ready():
                        await self._serve_next(connection)
            except StoreUnavailable as error:
                log.warning("serving_connection_lost", lane=self._lane.name, error=str(error))
                await asyncio.sleep(random.uniform(RECONNECT_MIN_S, RECONNECT_MAX_S))  # noqa: S311 - jitter

    async def _serve_next(self, connection: "Connection[Record]") -> None:
        if connection.is_closed():
            # It ended while it was idle. No request should lose an attempt to find that out.
            raise StoreUnavailable("the connection was closed")
        if group := await self._lane.take_group():
            with self._lane.running(group):
                await self._serve(connection, group)

    async def _serve(self, connection: "Connection[Record]", group: list[PendingRequest]) -> None:
        """Attempt to serve a group, and retry its requests if the attempt fails.

        Raise the driver's error if the connection is lost.
        """
        try:
            await self._attempt(connection, group)
        except (asyncpg.UniqueViolationError, asyncpg.InvalidCachedStatementError):
            # Another server served one of the requests meanwhile, or a migration changed a table under a prepared
            # statement; nothing was committed. The second time, isolation separates the request at fault.
            isolate = any(pending.progress.attempts for pending in group)
            self._retry(group, may_have_been_served=True, isolate=isolate)
        except asyncpg.LockNotAvailableError as error:
            # Another session holds a row that one of the requests needs. The others must not wait for it again.
            log.warning("row_lock_timeout", lane=self._lane.name, size=len(group), error=str(error))
            self._retry(group, may_have_been_served=False, isolate=True)
        except Exception as error:
            if is_lost_connection(error):
                # It is not known whether COMMIT arrived, so the next attempt looks for an earlier serve first.
                self._retry(group, may_have_been_served=True, isolate=False)
                raise
            log.exception("group_failed", lane=self._lane.name, size=len(group))
            self._retry(group, may_have_been_served=True, isolate=True)

    async def _attempt(self, connection: "Connection[Record]", group: list[PendingRequest]) -> None:
        """Run a group's transaction once; complete its requests, or queue them again with a newer catalog."""
        started_at = self._clock()
        self._observer.group_started(self._lane.name, [started_at - pending.progress.queued_at for pending in group])
        catalog = self._catalogs.current
        if any(pending.progress.revision != catalog.revision for pending in group):
            self._rebase(group)
            return
        transaction = GroupTransaction(connection, catalog, self._services)
        traces = [pending.trace for pending in group]
        self._busy += 1
        try:
            with self._services.tracer.group(self._lane.name, traces) as span:
                result = await transaction.serve(group, span)
        except StaleCatalogError:
            await self._catalogs.reload(catalog)
            self._rebase(group)
        except MissingPeriodError:
            # Open those of all candidates, so that a new hour restarts a group once and not for each of its campaigns.
            candidates = {campaign_id for pending in group for campaign_id in pending.progress.candidates}
            async with self._store.connection() as other:
                await budget_periods.open_periods(other, sorted(candidates), only_in_flight=True)
            self._requeue(group, Trigger.RESTARTED)
        except PodTooShortError as error:
            # It was in a group of its own.
            error.pending.adopt_refusals(error.reasons)
            self._requeue(group, Trigger.UNRESOLVED)
        else:
            self._complete(result)
        finally:
            self._busy -= 1
        self._observer.group_finished(self._lane.name, len(group), self._clock() - started_at)

    def _complete(self, result: GroupResult) -> None:
        """Answer the requests of a committed group, and queue those that need another attempt."""
        for pending, served in result.served:
            if served.render_error is None:
                pending.serve(served)
            else:
                pending.fail(served.render_error)
        for pending, error in result.failed:
            pending.fail(error)
        self._requeue(result.deferred, Trigger.DEFERRED)
        for pending in result.unresolved:
            pending.try_other_candidates_first()
        self._requeue(result.unresolved, Trigger.UNRESOLVED)
        for pending, fetches in result.awaiting_fetch.items():
            pending.await_fetch()
            self._background_tasks.spawn(self._finish_fetches(pending, fetches))

    async def _finish_fetches(self, pending: PendingRequest, fetches: list[PendingFetch]) -> None:
        """Wait for ads that the group did not wait for; the request then goes through the `serve` lane."""
        for fetch in fetches:
            await fetch.finish()
        self._dispatcher.requeue(pending, Trigger.FETCH_ENDED)

    def _rebase(self, group: list[PendingRequest]) -> None:
        """Decide the requests again with the current catalog."""
        for pending in group:
            self._resolver.rebase(pending)
        self._requeue(group, Trigger.RESTARTED)

    def _requeue(self, requests: list[PendingRequest], trigger: Trigger) -> None:
        for pending in reversed(requests):
            self._dispatcher.requeue(pending, trigger)

    def _retry(self, group: list[PendingRequest], *, may_have_been_served: bool, isolate: bool) -> None:
        """Queue the requests of a failed group again, except those that failed too often."""
        for pending in reversed([pending for pending in group if pending.is_in_group]):
            is_hopeless = pending.progress.attempts >= ATTEMPTS_MAX or (isolate and pending.progress.isolate)
            pending.record_failure(may_have_been_served=may_have_been_served, isolate=isolate)
            if is_hopeless:
                pending.decline(NoFillReason.BUSY)
            else:
                self._lane.put_back(pending, Trigger.RETRIED)
