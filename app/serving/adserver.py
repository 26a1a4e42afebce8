"""The ad server without HTTP: a request goes in, and its outcome comes out."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Protocol

import structlog
from asyncpg import Connection, Record

from app.domain import AdRequest, Campaign, Catalog, Creative, NoFillReason, Upstream
from app.errors import UpstreamFailed
from app.group_scheduler import HELD_UP_S, LINGER_MAX_S
from app.observer import Observer
from app.serving.answers import Answers
from app.serving.candidates import CandidateResolver
from app.serving.catalogs import CatalogHolder
from app.serving.context import SessionContext
from app.serving.fetch_wait import FetchWaitLimiter
from app.serving.group import Group, Late
from app.serving.lane import Lane
from app.serving.limits import ServingLimits
from app.serving.outcomes import Completion, FetchedAd, NoFill, Outcome, ServedAd
from app.serving.pending import PendingRequest
from app.serving.recent_refusals import RecentRefusals
from app.serving.spans import NO_TRACER, RequestTracer
from app.serving.transaction import CatalogMovedError, GroupTransaction, PeriodsUnopenedError
from app.store import budget_periods
from app.store.connections import Store
from app.store.serves import EarlierServe

log = structlog.get_logger()

SPACING_MAX_S, FETCH_LINGER_MAX_S = 0.01, 0.02
"""For groups that fetch: what they are held up by and gather for, where a wait is little beside an upstream's."""


class AdSource(Protocol):
    """Where the ads of campaigns with upstreams come from."""

    async def fetch(self, pending: PendingRequest, upstreams: list[Upstream]) -> FetchedAd:
        """Asks the upstreams in order; raises UpstreamFailed when none has an ad in time."""

    def in_hand(self, pending: PendingRequest, upstreams: list[Upstream]) -> FetchedAd | None:
        """The ad, if it is here already."""

    def restore(self, upstream_id: str, document: bytes) -> FetchedAd:
        """The ad of a document that was served before."""


class AdServer:
    """Takes requests, sends them through the lanes, and keeps the catalog they are decided by."""

    def __init__(
        self,
        store: Store,
        catalogs: CatalogHolder,
        admission: CandidateResolver,
        source: AdSource,
        observer: Observer,
        answers: Answers,
        limits: ServingLimits,
        spans: RequestTracer = NO_TRACER,
    ) -> None:
        self._store = store
        self.catalogs = catalogs
        self._admission = admission
        self._source = source
        self._observer = observer
        self._answers = answers
        self._limits = limits
        self._spans = spans
        self._loop = asyncio.get_running_loop()
        self._recent_refusals = RecentRefusals(self._loop.time)
        self._fetch_wait = FetchWaitLimiter(limits.group_fetch_wait_s, limits.fetch_connections)
        self._groups: Counter[str] = Counter()
        self._aside: set[asyncio.Task[None]] = set()
        """What single requests wait for outside of the lanes."""
        self._in_hand = self._lane("serve", limits.serve_connections, HELD_UP_S, LINGER_MAX_S)
        # A group that fetches is always held up: its connections set out one after the other while the first waits.
        spacing_s = min(SPACING_MAX_S, limits.group_fetch_wait_s / limits.fetch_connections)
        self._fetch = self._lane("fetch", limits.fetch_connections, spacing_s, FETCH_LINGER_MAX_S)

    def _lane(self, name: str, connections: int, held_up_s: float, linger_max_s: float) -> Lane:
        async def serve_group(connection: "Connection[Record]", requests: list[PendingRequest]) -> None:
            await self._serve_group(name, connection, requests)

        limits = self._limits
        return Lane(
            name,
            self._store,
            serve_group,
            connections=connections,
            queue_max=limits.queue_max,
            group_max=limits.group_max,
            held_up_s=held_up_s,
            linger_max_s=linger_max_s,
        )

    def start(self) -> None:
        """Opens the lanes."""
        self._in_hand.start()
        self._fetch.start()

    async def stop(self) -> None:
        """Answers what waits, and closes the lanes."""
        for task in self._aside:
            task.cancel()
        await self._in_hand.stop()
        await self._fetch.stop()

    @property
    def waiting(self) -> Mapping[str, int]:
        """Requests waiting, by lane."""
        return {lane.name: lane.waiting for lane in (self._in_hand, self._fetch)}

    @property
    def connections(self) -> Mapping[str, tuple[int, int]]:
        """Connections with a group under way, and how many there are, by lane."""
        return {
            self._in_hand.name: (self._groups[self._in_hand.name], self._limits.serve_connections),
            self._fetch.name: (self._groups[self._fetch.name], self._limits.fetch_connections),
        }

    async def serve(self, request: AdRequest, context: SessionContext) -> Outcome:
        """Answers within the request's deadline.

        Raises InvalidRequest for an unknown campaign or placement, NotFound or Gone for the viewing session, and
        Conflict when the request_id was used with other parameters.
        """
        outcome: asyncio.Future[Outcome] = self._loop.create_future()

        def on_done(how: Outcome | Exception) -> None:
            if outcome.done():
                return
            if isinstance(how, Exception):
                outcome.set_exception(how)
            else:
                outcome.set_result(how)

        self.take(request, context, on_done)
        return await outcome

    def take(self, request: AdRequest, context: SessionContext, on_done: Completion) -> None:
        """As `serve`, but returns at once; `on_done` gets the outcome or the error, perhaps before that.

        A group's requests are told one after the other, without a turn of the event loop for each of them.
        """
        deadline = self._loop.time() + self._limits.request_deadline_s
        candidates = self._admission.candidates(request)
        if candidates is not None:
            self._admit(request, context, candidates, deadline, on_done)
        elif len(self._aside) < self._limits.queue_max:
            self._set_aside(self._take_new(request, context, deadline, on_done))
        else:
            on_done(NoFill(NoFillReason.BUSY))

    async def _take_new(
        self, request: AdRequest, context: SessionContext, deadline: float, on_done: Completion
    ) -> None:
        """Takes a request with an id that is not known."""
        try:
            async with asyncio.timeout_at(deadline):
                candidates = await self._admission.new_candidates(request)
            self._admit(request, context, candidates, deadline, on_done)
        except TimeoutError:
            on_done(NoFill(NoFillReason.BUSY))
        except Exception as error:  # noqa: BLE001 - it belongs to this request, whose player is told
            on_done(error)

    def _set_aside(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    def _admit(
        self,
        request: AdRequest,
        context: SessionContext,
        candidates: tuple[str, ...],
        deadline: float,
        on_done: Completion,
    ) -> None:
        if not self._admission.allows(request):
            on_done(NoFill(NoFillReason.RATE_LIMIT))
            return
        pending = self._admission.pending(request, context, candidates, deadline, on_done)
        context.on_close(pending.abandon)
        self._send(pending)

    def _send(self, pending: PendingRequest, *, back: bool = False) -> None:
        """Puts the request in the lane of its next candidates, or ends it when none is left."""
        remaining = pending.remaining
        if not remaining and pending.heard:
            pending.give_up()
            return
        ready = self._ready(pending, remaining)
        lane = self._in_hand if (ready and pending.request.pod_size == 1) or ready == remaining else self._fetch
        pending.run = ready if lane is self._in_hand else remaining
        pending.repeats_allowed = pending.run == remaining
        if back:
            lane.put_back([pending])
        else:
            lane.put(pending)

    def _ready(self, pending: PendingRequest, remaining: tuple[str, ...]) -> tuple[str, ...]:
        """The leading candidates whose ad is in hand."""
        catalog = self.catalogs.current
        for no, campaign_id in enumerate(remaining):
            campaign = catalog.campaigns[campaign_id]
            if not campaign.upstreams or campaign_id in pending.in_hand:
                continue
            fetched = self._source.in_hand(pending, _upstreams(catalog, campaign))
            if fetched is None:
                return remaining[:no]
            pending.in_hand[campaign_id] = fetched
        return remaining

    async def _serve_group(self, lane: str, connection: "Connection[Record]", requests: list[PendingRequest]) -> None:
        """Runs the transaction, and tells the requests what became of them."""
        started = self._loop.time()
        self._observer.group_started(lane, [started - pending.queued_at for pending in requests])
        catalog = self.catalogs.current
        if any(pending.revision != catalog.revision for pending in requests):
            self._decide_anew(requests)
            return
        transaction = GroupTransaction(
            connection,
            catalog,
            self._recent_refusals,
            self._fetch_ad,
            partial(self._recall, catalog),
            partial(self._render, catalog),
            self._fetch_wait,
        )
        self._groups[lane] += 1
        try:
            with self._spans.group(lane, [pending.trace for pending in requests]) as steps:
                group = await transaction.serve(requests, steps)
        except CatalogMovedError:
            await self.catalogs.reload(catalog)
            self._decide_anew(requests)
        except PeriodsUnopenedError:
            async with self._store.connection() as other:
                await budget_periods.open_periods(other, await budget_periods.find_campaigns_in_flight(other))
            self._start_again(requests)
        else:
            self._tell(group)
        finally:
            self._groups[lane] -= 1
        self._observer.group_finished(lane, len(requests), self._loop.time() - started)

    def _decide_anew(self, requests: list[PendingRequest]) -> None:
        for pending in requests:
            self._admission.decide_anew(pending)
        self._start_again(requests)

    def _start_again(self, requests: list[PendingRequest]) -> None:
        for pending in reversed(requests):
            self._send(pending, back=True)

    def _tell(self, group: Group) -> None:
        for pending, served in group.served:
            if served.fault is None:
                pending.settle(served)
            else:
                pending.fail(served.fault)
        for pending, error in group.failed:
            pending.fail(error)
        self._start_again(group.again)
        for pending in reversed(group.undecided):
            if pending.run != pending.remaining and not set(pending.run) & set(pending.refusals):
                # Nothing was refused: its session has seen the creatives of this run, so the others go first.
                pending.candidates = (*(c for c in pending.candidates if c not in pending.run), *pending.run)
            self._send(pending, back=True)
        for pending, late in group.late.items():
            self._set_aside(self._finish_late(pending, late))

    def _render(self, catalog: Catalog, group: Group) -> None:
        """By the catalog that the creatives are of: the current one may move while the group is committed.

        All of them together: with the code and the templates in the processor's caches, an answer takes half of the
        time that it takes between two requests.
        """
        for pending, served in group.served:
            try:
                served.vast = self._answers.vast(served, pending.request.vast_version, catalog)
            except Exception as error:  # noqa: BLE001 - it belongs to this request, which raises it
                served.fault = error

    async def _finish_late(self, pending: PendingRequest, late: list[Late]) -> None:
        """Waits for ads whose group would not; with them in hand the request passes through the first lane."""
        for choice, fetching in late:
            try:
                pending.in_hand[choice.campaign.id] = await fetching
            except UpstreamFailed:
                choice.refuse(NoFillReason.UPSTREAM)
            except Exception:
                log.exception("fetch failed", campaign_id=choice.campaign.id)
                choice.refuse(NoFillReason.UPSTREAM)
        self._send(pending, back=True)

    async def _fetch_ad(self, pending: PendingRequest, campaign: Campaign) -> FetchedAd:
        with self._spans.fetch(pending.trace):
            return await self._source.fetch(pending, _upstreams(self.catalogs.current, campaign))

    def _recall(self, catalog: Catalog, pending: PendingRequest, serve: EarlierServe) -> ServedAd:
        """The document is kept for requests with a name only; others still have what their last attempt served."""
        if serve.upstream_id is None:
            creative = _creative(catalog, serve.campaign_id, serve.creative_id)
            return ServedAd(serve.slot, serve.campaign_id, creative, None)
        if serve.document is not None:
            fetched = self._source.restore(serve.upstream_id, serve.document)
            return ServedAd(serve.slot, serve.campaign_id, None, fetched)
        attempted = (ad for ad in pending.attempted if (ad.slot, ad.campaign_id) == (serve.slot, serve.campaign_id))
        return next(attempted, ServedAd(serve.slot, serve.campaign_id, None, None))


def _upstreams(catalog: Catalog, campaign: Campaign) -> list[Upstream]:
    return [catalog.upstreams[upstream_id] for upstream_id in campaign.upstreams]


def _creative(catalog: Catalog, campaign_id: str, creative_id: str | None) -> Creative | None:
    of_campaign = catalog.creatives.get(campaign_id, ())
    return next((creative for creative in of_campaign if creative.id == creative_id), None)
