"""The composition root: settings become a store, lanes, clients and routes; what is opened last is closed first."""

import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Lifespan

from app.beacons.lane import BeaconLane
from app.campaign_file.campaign_admin import CampaignAdminService
from app.errors import AdServerError
from app.fast_path import DirectEndpoint, HotPaths
from app.maintenance.tasks import Maintenance
from app.observability.gauges import GaugeSampler
from app.observability.ledger_health import LedgerHealthSampler
from app.observability.logs import LineWriter, RequestLog, configure
from app.observability.metrics import Metrics
from app.observability.readiness import Readiness
from app.observability.request_buffer import RequestBuffer
from app.observability.request_counts import RequestCounts
from app.observability.tracing import Tracing
from app.observability.tracing import is_configured as tracing_is_configured
from app.observability.upstream_health import UpstreamMonitor
from app.observability.upstream_refusals import SharedRefusals
from app.observer import Observer, fan_out
from app.privacy import identification_allowed
from app.serving.adserver import AdServer
from app.serving.answers import Answers
from app.serving.candidates import CandidateResolver
from app.serving.catalogs import CatalogHolder
from app.serving.keys import hash_key
from app.serving.limits import ServingLimits
from app.serving.spans import NO_TRACER
from app.serving.tokens import TokenSigner
from app.serving.upstream_ads import UpstreamAds
from app.serving.viewing_sessions import ViewingSessions
from app.settings import Settings
from app.store.connections import Store, Timeouts
from app.store.quotas import Quotas
from app.upstreams.client import no_wrapper
from app.upstreams.service import UpstreamService
from app.vast.document_cache import DocumentCache
from app.web.ad_requests import AdRequestHandler, MeteredAdRequestHandler
from app.web.admin import CampaignAdminEndpoints
from app.web.batch_ads import BatchAdsEndpoint
from app.web.beacons import BeaconEndpoints
from app.web.bearer_auth import BearerAuth, TokenFailures
from app.web.client_limits import ClientLimits
from app.web.clients import ClientReader
from app.web.demo import DemoEndpoints
from app.web.openapi import OpenApiEndpoint
from app.web.operations import OperationsEndpoints
from app.web.pages import PageEndpoints
from app.web.players import TAG_PATH, VastEndpoint
from app.web.ports import OperatorAccess, PortRouter
from app.web.problems import on_error, on_http_error
from app.web.sessions import SessionEndpoints
from app.web.trailing_slashes import TrailingSlashMiddleware
from app.web.vmap import VmapEndpoint

GC_THRESHOLDS = (50_000, 20, 50)
"""Requests leave few cycles behind: looking for them after every 700 objects cost a third of the throughput."""


def create_app(settings: Settings | None = None) -> ASGIApp:
    """The ASGI application of one worker, by default with the settings of the environment."""
    settings = settings or Settings()
    tracing = Tracing() if tracing_is_configured() else None
    worker = Worker(settings, tracing)
    ports = PortRouter(_router(worker.lifespan), worker.public_app, settings.admin_port)
    app = HotPaths(TrailingSlashMiddleware(ports), worker.hot_paths)
    return app if tracing is None else tracing.wrap_app(app)


class Worker:
    """One server process: opens everything in the running event loop, and closes it in reverse."""

    def __init__(self, settings: Settings, tracing: Tracing | None) -> None:
        self._settings = settings
        self._tracing = tracing
        self._stack = AsyncExitStack()
        self.hot_paths: dict[str, DirectEndpoint] = {}
        self.public_app = _router()
        """What the public port serves where operators have a port of their own."""

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Starlette's lifespan: the routes exist while it lasts."""
        async with self._stack:
            players, operators = await self._open()
            self.public_app.router.routes.extend(players)
            app.router.routes.extend([*players, *operators])
            _settle_memory()
            yield

    async def _open(self) -> tuple[list[BaseRoute], list[BaseRoute]]:
        """The routes of players and of operators."""
        settings = self._settings
        log = LineWriter()
        self._stack.callback(log.close)
        configure(settings.log_level, log)
        if self._tracing is not None:
            self._stack.callback(self._tracing.close)
        metrics = Metrics()
        self._stack.push_async_callback(metrics.stop)
        store = _store(settings)
        self._stack.push_async_callback(store.close)
        counts = RequestCounts(store)
        counts.start()
        self._stack.push_async_callback(counts.stop)
        requests = RequestBuffer([metrics, counts, RequestLog(log, settings.log_level)])
        self._stack.callback(requests.flush)
        observer = fan_out(metrics, requests)
        catalogs = await CatalogHolder.open(store)
        upstreams = UpstreamService(
            Quotas(store),
            DocumentCache(settings.beacon_base_url),
            observer,
            allowed_networks=settings.allowed_networks,
            wrap=self._tracing.wrap_transport if self._tracing else no_wrapper,
        )
        self._stack.push_async_callback(upstreams.aclose)
        secrets = [key.get_secret_value() for key in (settings.secret_key, *settings.retired_secret_keys)]
        signer = TokenSigner(secrets, settings.beacon_ttl_s)
        limits = _limits(settings)
        ads = UpstreamAds(upstreams.chain, upstreams.wrapper_resolver, limits)
        spans = self._tracing or NO_TRACER
        adserver = AdServer(
            store,
            catalogs,
            CandidateResolver(catalogs, upstreams.rate_limiter, hash_key(secrets[0]), spans),
            ads,
            observer,
            Answers(signer, settings.beacon_base_url),
            limits,
            spans,
        )
        adserver.start()
        self._stack.push_async_callback(adserver.stop)
        beacon_lane = self._beacon_lane(store, observer)
        maintenance = Maintenance(store, settings.retention_days)
        maintenance.start()
        self._stack.push_async_callback(maintenance.stop)
        refusals = SharedRefusals(upstreams.refusals)
        metrics.start(GaugeSampler(metrics, requests, log, adserver, store, upstreams, refusals).sample)
        watch = LedgerHealthSampler(store, metrics)
        watch.start()
        self._stack.push_async_callback(watch.stop)
        statuses = UpstreamMonitor(metrics, catalogs, refusals)
        statuses.start()
        self._stack.push_async_callback(statuses.stop)
        readiness = Readiness(store, lambda: upstreams.breaker_states)
        metered_handler = MeteredAdRequestHandler(adserver, identification_allowed, observer)
        clients = ClientReader(settings.trusted_proxies)
        client_limits = ClientLimits(
            clients,
            observer,
            requests_per_s=settings.client_requests_per_s,
            workers=settings.workers,
            unlimited=settings.unlimited_networks,
        )
        players = VastEndpoint(AdRequestHandler(adserver, identification_allowed), clients, client_limits, observer)
        beacons = BeaconEndpoints(signer, beacon_lane, client_limits, observer)
        token_failures = TokenFailures(clients, client_limits, observer)
        admin_token = settings.admin_token.get_secret_value()
        token = BearerAuth(admin_token, failures=token_failures)
        batch_token = BearerAuth(settings.stitcher_token.get_secret_value(), admin_token, failures=token_failures)
        self.hot_paths |= {TAG_PATH: players.handle, **beacons.hot_paths()}
        figures = OperatorAccess(token, settings.admin_port, beyond_loopback=settings.exposed_host is not None)
        operations = OperationsEndpoints(metrics, readiness, statuses, figures)
        return [
            *players.routes(),
            *beacons.routes(),
            *BatchAdsEndpoint(
                metered_handler,
                clients,
                batch_token,
                max_body_bytes=settings.max_body_bytes,
                batch_max=settings.batch_max,
            ).routes(),
            *VmapEndpoint(
                metered_handler, catalogs, clients, client_limits, settings.beacon_base_url, limits.request_deadline_s
            ).routes(),
            *SessionEndpoints(
                ViewingSessions(store, hash_key(secrets[0]), settings.sessions_max), client_limits
            ).routes(),
            *operations.probes(),
        ], [
            *operations.routes(),
            *CampaignAdminEndpoints(
                CampaignAdminService(store, catalogs), token, figures, settings.max_body_bytes
            ).routes(),
            *DemoEndpoints(store, hash_key(secrets[0])).routes(),
            *OpenApiEndpoint().routes(),
            *PageEndpoints().routes(),
        ]

    def _beacon_lane(self, store: Store, observer: Observer) -> BeaconLane:
        settings = self._settings
        lane = BeaconLane(
            store,
            observer,
            connections=settings.beacon_connections,
            queue_max=settings.beacon_queue_max,
            group_max=settings.beacon_group_max,
        )
        lane.start()
        self._stack.push_async_callback(lane.stop)
        return lane


def _router(lifespan: Lifespan[Starlette] | None = None) -> Starlette:
    app = Starlette(lifespan=lifespan, exception_handlers={AdServerError: on_error, HTTPException: on_http_error})
    app.router.redirect_slashes = False
    return app


def _settle_memory() -> None:
    """What is there after the start stays: the garbage collector need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _store(settings: Settings) -> Store:
    return Store(
        settings.database_url,
        serving_database=settings.serving_database,
        serving_connections=settings.serve_connections + settings.fetch_connections + settings.beacon_connections,
        general_connections=settings.pool_connections,
        timeouts=Timeouts(
            lock_ms=settings.lock_timeout_ms,
            statement_ms=settings.statement_timeout_ms,
            idle_in_transaction_ms=settings.idle_in_transaction_timeout_ms,
        ),
    )


def _limits(settings: Settings) -> ServingLimits:
    return ServingLimits(
        request_deadline_s=settings.request_deadline_ms / 1000,
        upstream_deadline_s=settings.upstream_deadline_ms / 1000,
        group_fetch_wait_s=settings.group_fetch_wait_ms / 1000,
        group_max=settings.group_max,
        queue_max=settings.queue_max,
        serve_connections=settings.serve_connections,
        fetch_connections=settings.fetch_connections,
    )
