"""The ad server without HTTP: takes requests, and completes each with its outcome."""

import asyncio
from collections.abc import Mapping

from app.domain import AdRequest, NoFillReason
from app.group_scheduler import HELD_UP_S, LINGER_MAX_S
from app.observer import Observer
from app.serving.answers import Answers
from app.serving.background_tasks import BackgroundTasks
from app.serving.candidates import CandidateResolver
from app.serving.catalogs import CatalogHolder
from app.serving.context import SessionContext
from app.serving.dispatcher import Dispatcher
from app.serving.fetch_wait import FetchWaitLimiter
from app.serving.group_runner import GroupRunner
from app.serving.lane import Lane
from app.serving.limits import ServingLimits
from app.serving.outcomes import Completion, NoFill
from app.serving.recent_refusals import RecentRefusals
from app.serving.spans import NO_TRACER, RequestTracer
from app.serving.transaction import GroupServices
from app.serving.upstream_ads import UpstreamAds
from app.store.connections import Store

FETCH_HELD_UP_MAX_S, FETCH_LINGER_MAX_S = 0.01, 0.02
"""Timings of the `fetch` lane, where such a wait is short beside that for an upstream."""


class AdServer:
    """One worker's ad server. Call `start` before the first request, and `stop` after the last."""

    def __init__(
        self,
        store: Store,
        catalogs: CatalogHolder,
        resolver: CandidateResolver,
        ads: UpstreamAds,
        observer: Observer,
        answers: Answers,
        limits: ServingLimits,
        tracer: RequestTracer = NO_TRACER,
    ) -> None:
        self.catalogs = catalogs
        self._observer = observer
        self._resolver = resolver
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._background_tasks = BackgroundTasks()
        # A group that fetches is always held up: the connections begin one after the other while the first one waits.
        fetch_held_up_s = min(FETCH_HELD_UP_MAX_S, limits.group_fetch_wait_s / limits.fetch_connections)
        serve_lane = self._lane("serve", HELD_UP_S, LINGER_MAX_S)
        fetch_lane = self._lane("fetch", fetch_held_up_s, FETCH_LINGER_MAX_S)
        self._lanes = (serve_lane, fetch_lane)
        recent_refusals = RecentRefusals(self._loop.time)
        self._dispatcher = Dispatcher(serve_lane, fetch_lane, catalogs, resolver, ads, recent_refusals)
        services = GroupServices(
            ads,
            answers,
            recent_refusals,
            FetchWaitLimiter(limits.group_fetch_wait_s, limits.fetch_connections),
            tracer,
            resolver.clock,
        )

        def runner(lane: Lane, connections: int) -> GroupRunner:
            return GroupRunner(
                lane,
                store,
                connections,
                catalogs=catalogs,
                resolver=resolver,
                dispatcher=self._dispatcher,
                services=services,
                observer=observer,
                background_tasks=self._background_tasks,
            )

        self._runners = {
            serve_lane.name: runner(serve_lane, limits.serve_connections),
            fetch_lane.name: runner(fetch_lane, limits.fetch_connections),
        }

    def _lane(self, name: str, held_up_s: float, linger_max_s: float) -> Lane:
        return Lane(
            name,
            self._loop,
            queue_max=self._limits.queue_max,
            group_max=self._limits.group_max,
            held_up_s=held_up_s,
            linger_max_s=linger_max_s,
        )

    def start(self) -> None:
        """Start serving."""
        for runner in self._runners.values():
            runner.start()

    async def stop(self) -> None:
        """Decline the queued requests, and wait for the running groups."""
        self._background_tasks.cancel()
        for runner in self._runners.values():
            await runner.stop()

    @property
    def waiting(self) -> Mapping[str, int]:
        """The number of queued requests, by lane."""
        return {lane.name: lane.waiting for lane in self._lanes}

    @property
    def connections(self) -> Mapping[str, tuple[int, int]]:
        """The number of connections with a running transaction, and the number of all connections, by lane."""
        return {name: runner.connections for name, runner in self._runners.items()}

    def submit(self, request: AdRequest, context: SessionContext, on_done: Completion) -> None:
        """Serve a request; call `on_done` once by its deadline, possibly before this returns, unless its client leaves.

        `on_done` receives the outcome or an error: InvalidRequest for an unknown campaign or placement, NotFound or
        Gone for the viewing session, Conflict for a request_id that was used with different parameters. It must be
        quick, because the requests of a group are completed one after the other.
        """
        deadline = self._loop.time() + self._limits.request_deadline_s
        if self._resolver.knows(request):
            self._enqueue(request, context, deadline, on_done)
        elif len(self._background_tasks) < self._limits.queue_max:
            self._background_tasks.spawn(self._submit_unknown_id(request, context, deadline, on_done))
        else:
            on_done(NoFill(NoFillReason.BUSY))

    async def _submit_unknown_id(
        self, request: AdRequest, context: SessionContext, deadline: float, on_done: Completion
    ) -> None:
        """Serve a request whose campaign or placement may have been set up a moment ago."""
        client_left = asyncio.Event()
        context.on_close(client_left.set)
        try:
            async with asyncio.timeout_at(deadline):
                await self._resolver.reload_until_known(request)
            if not client_left.is_set():
                self._enqueue(request, context, deadline, on_done)
        except TimeoutError:
            on_done(NoFill(NoFillReason.BUSY))
        except Exception as error:  # noqa: BLE001 - the client's answer says what went wrong
            on_done(error)

    def _enqueue(self, request: AdRequest, context: SessionContext, deadline: float, on_done: Completion) -> None:
        invalidity = self._resolver.find_invalidity(request, context.client)
        if invalidity is not None:
            self._observer.invalid_request_refused(invalidity)
            on_done(NoFill(NoFillReason.INVALID_TRAFFIC))
            return
        if not self._resolver.is_within_limit(request):
            on_done(NoFill(NoFillReason.RATE_LIMIT))
            return
        pending = self._resolver.make_pending(request, context, deadline, on_done)
        self._dispatcher.enqueue(pending)
        context.on_close(pending.abandon)
