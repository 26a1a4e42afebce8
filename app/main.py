"""The composition root: opens each component with its settings, connects them, and closes them in reverse order."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

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
from app.serving.pace import PaceReader
from app.serving.previews import PreviewLinks, Previews
from app.serving.spans import NO_TRACER
from app.serving.tokens import TokenSigner
from app.serving.upstream_ads import UpstreamAds
from app.serving.viewing_sessions import ViewingSessions
from app.settings import Settings
from app.store.connections import Store, Timeouts
from app.store.quotas import Quotas
from app.targeting.places import PlaceReader
from app.targeting.reloading import PlaceReloader
from app.targeting.user_agents import load_rules
from app.targeting.viewer import ViewerReader
from app.traffic.user_agents import load_bots
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
from app.web.operations import HealthEndpoints, OperationsEndpoints
from app.web.pages import PageEndpoints
from app.web.players import TAG_PATH, VastEndpoint
from app.web.ports import OperatorAccess, PortRouter
from app.web.previews import PreviewEndpoint, PreviewLinkEndpoint
from app.web.problems import on_error, on_http_error
from app.web.sessions import SessionEndpoints
from app.web.trailing_slashes import TrailingSlashMiddleware
from app.web.vmap import VmapEndpoint
from app.webhooks.client import WebhookClient
from app.webhooks.sender import WebhookSender

GC_THRESHOLDS = (50_000, 20, 50)
"""Requests leave few reference cycles; a collection after every 700 objects cost a third of the throughput."""


def create_app(settings: Settings | None = None) -> ASGIApp:
    """Return the ASGI application of one worker, by default with the settings of the environment."""
    settings = settings or Settings()
    tracing = Tracing() if tracing_is_configured() else None
    worker = Worker(settings, tracing)
    ports = PortRouter(_router(worker.lifespan), worker.public_app, settings.admin_port)
    app = HotPaths(TrailingSlashMiddleware(ports), worker.hot_paths)
    return app if tracing is None else tracing.wrap_app(app)


@dataclass(frozen=True, slots=True)
class Components:
    """The open parts of the server that endpoints use."""

    store: Store
    catalogs: CatalogHolder
    adserver: AdServer
    beacon_lane: BeaconLane
    observer: Observer
    metrics: Metrics
    readiness: Readiness
    upstream_monitor: UpstreamMonitor


@dataclass(frozen=True, slots=True)
class Access:
    """Clients, their limits, and the tokens and ports that grant access."""

    clients: ClientReader
    client_limits: ClientLimits
    admin: BearerAuth
    stitchers: BearerAuth
    operators: OperatorAccess


class Worker:
    """One server process: opens its components in the running event loop, and closes them in reverse order."""

    def __init__(self, settings: Settings, tracing: Tracing | None) -> None:
        self._settings = settings
        self._tracing = tracing
        self._stack = AsyncExitStack()
        self._secrets = [key.get_secret_value() for key in (settings.secret_key, *settings.retired_secret_keys)]
        self._hash_key = hash_key(self._secrets[0])
        self._signer = TokenSigner(self._secrets, settings.beacon_ttl_s)
        self._preview_links = PreviewLinks(self._secrets, settings.beacon_base_url)
        self._limits = _limits(settings)
        self.hot_paths: dict[str, DirectEndpoint] = {}
        self.public_app = _router()
        """The application of the public port if there is an admin port."""

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Open the worker's components and add their routes; close the components at the end (Starlette's lifespan)."""
        async with self._stack:
            components = await self._open_components()
            access = self._access(components)
            players, operators = self._player_routes(components, access), self._operator_routes(components, access)
            self.public_app.router.routes.extend(players)
            app.router.routes.extend([*players, *operators])
            _freeze_memory()
            yield

    async def _open_components(self) -> Components:
        log = self._open_log()
        metrics = Metrics()
        self._stack.push_async_callback(metrics.stop)
        store = _store(self._settings)
        self._stack.push_async_callback(store.close)
        viewers = await self._open_viewers()
        requests = self._open_request_buffer(store, metrics, log, viewers)
        observer = fan_out(metrics, requests)
        catalogs = await CatalogHolder.open(store)
        upstreams = self._open_upstreams(store, observer)
        adserver = await self._open_adserver(store, catalogs, upstreams, observer, viewers)
        beacon_lane = self._open_beacon_lane(store, observer)
        self._open_maintenance(store)
        self._open_webhooks(store, observer)
        refusals = SharedRefusals(upstreams.refusals)
        metrics.start(GaugeSampler(metrics, requests, log, adserver, store, upstreams, refusals).sample)
        self._open_ledger_health(store, metrics)
        monitor = self._open_upstream_monitor(metrics, catalogs, refusals)
        readiness = Readiness(store, lambda: upstreams.breaker_states)
        return Components(store, catalogs, adserver, beacon_lane, observer, metrics, readiness, monitor)

    def _open_log(self) -> LineWriter:
        log = LineWriter()
        self._stack.callback(log.close)
        configure(self._settings.log_level, log)
        if self._tracing is not None:
            self._stack.callback(self._tracing.close)
        return log

    def _open_request_buffer(
        self, store: Store, metrics: Metrics, log: LineWriter, viewers: ViewerReader
    ) -> RequestBuffer:
        counts = RequestCounts(store, viewers)
        counts.start()
        self._stack.push_async_callback(counts.stop)
        requests = RequestBuffer([metrics, counts, RequestLog(log, self._settings.log_level)])
        self._stack.callback(requests.flush)
        return requests

    def _open_upstreams(self, store: Store, observer: Observer) -> UpstreamService:
        upstreams = UpstreamService(
            Quotas(store),
            DocumentCache(self._settings.beacon_base_url),
            observer,
            allowed_networks=self._settings.allowed_networks,
            wrap=self._tracing.wrap_transport if self._tracing else no_wrapper,
        )
        self._stack.push_async_callback(upstreams.aclose)
        return upstreams

    async def _open_adserver(
        self,
        store: Store,
        catalogs: CatalogHolder,
        upstreams: UpstreamService,
        observer: Observer,
        viewers: ViewerReader,
    ) -> AdServer:
        tracer = self._tracing or NO_TRACER
        resolver = CandidateResolver(catalogs, upstreams.rate_limiter, self._hash_key, viewers, tracer)
        adserver = AdServer(
            store,
            catalogs,
            resolver,
            UpstreamAds(upstreams.chain, upstreams.wrapper_resolver, self._limits),
            observer,
            Answers(self._signer, self._settings.beacon_base_url),
            self._limits,
            tracer,
        )
        pace = PaceReader(store, catalogs, resolver.observe_pace)
        await pace.start()
        self._stack.push_async_callback(pace.stop)
        adserver.start()
        self._stack.push_async_callback(adserver.stop)
        return adserver

    async def _open_viewers(self) -> ViewerReader:
        await asyncio.to_thread(load_rules)
        await asyncio.to_thread(load_bots)
        if self._settings.geoip_file is None:
            return ViewerReader()
        places = await asyncio.to_thread(PlaceReader, self._settings.geoip_file)
        reloader = PlaceReloader(places)
        reloader.start()
        self._stack.push_async_callback(reloader.stop)
        return ViewerReader(places)

    def _open_beacon_lane(self, store: Store, observer: Observer) -> BeaconLane:
        lane = BeaconLane(
            store,
            observer,
            connections=self._settings.beacon_connections,
            queue_max=self._settings.beacon_queue_max,
            group_max=self._settings.beacon_group_max,
        )
        lane.start()
        self._stack.push_async_callback(lane.stop)
        return lane

    def _open_maintenance(self, store: Store) -> None:
        maintenance = Maintenance(store, self._settings.retention_days, self._settings.budget_days)
        maintenance.start()
        self._stack.push_async_callback(maintenance.stop)

    def _open_webhooks(self, store: Store, observer: Observer) -> None:
        client = WebhookClient(self._settings.webhook_private_networks)
        self._stack.push_async_callback(client.aclose)
        sender = WebhookSender(store, client, observer)
        sender.start()
        self._stack.push_async_callback(sender.stop)

    def _open_ledger_health(self, store: Store, metrics: Metrics) -> None:
        sampler = LedgerHealthSampler(store, metrics)
        sampler.start()
        self._stack.push_async_callback(sampler.stop)

    def _open_upstream_monitor(
        self, metrics: Metrics, catalogs: CatalogHolder, refusals: SharedRefusals
    ) -> UpstreamMonitor:
        monitor = UpstreamMonitor(metrics, catalogs, refusals)
        monitor.start()
        self._stack.push_async_callback(monitor.stop)
        return monitor

    def _access(self, components: Components) -> Access:
        settings = self._settings
        clients = ClientReader(settings.trusted_proxies)
        client_limits = ClientLimits(
            clients,
            components.observer,
            requests_per_s=settings.client_requests_per_s,
            workers=settings.workers,
            unlimited=settings.unlimited_networks,
        )
        failures = TokenFailures(clients, client_limits, components.observer)
        admin_token = settings.admin_token.get_secret_value()
        admin = BearerAuth(admin_token, failures=failures)
        stitchers = BearerAuth(settings.stitcher_token.get_secret_value(), admin_token, failures=failures)
        operators = OperatorAccess(admin, settings.admin_port, beyond_loopback=settings.exposed_host is not None)
        return Access(clients, client_limits, admin, stitchers, operators)

    def _player_routes(self, components: Components, access: Access) -> list[BaseRoute]:
        settings, clients, limits = self._settings, access.clients, access.client_limits
        handler = AdRequestHandler(components.adserver, identification_allowed)
        metered_handler = MeteredAdRequestHandler(components.adserver, identification_allowed, components.observer)
        vast = VastEndpoint(handler, clients, limits, components.observer)
        beacons = BeaconEndpoints(self._signer, components.beacon_lane, limits, components.observer)
        batches = BatchAdsEndpoint(
            metered_handler,
            clients,
            access.stitchers,
            max_body_bytes=settings.max_body_bytes,
            batch_max=settings.batch_max,
        )
        deadline_s = self._limits.request_deadline_s
        vmap = VmapEndpoint(metered_handler, components.catalogs, clients, limits, settings.beacon_base_url, deadline_s)
        sessions = SessionEndpoints(ViewingSessions(components.store, self._hash_key, settings.sessions_max), limits)
        previews = Previews(self._signer, settings.beacon_base_url)
        preview = PreviewEndpoint(self._preview_links, previews, components.catalogs, limits, deadline_s)
        self.hot_paths |= {TAG_PATH: vast.handle, **beacons.hot_paths()}
        probes = HealthEndpoints(components.readiness, access.operators)
        endpoints = (vast, beacons, batches, vmap, preview, sessions, probes)
        return [route for endpoint in endpoints for route in endpoint.routes()]

    def _operator_routes(self, components: Components, access: Access) -> list[BaseRoute]:
        service = CampaignAdminService(components.store, components.catalogs, self._settings.webhook_private_networks)
        endpoints = (
            OperationsEndpoints(components.metrics, components.upstream_monitor, access.operators),
            CampaignAdminEndpoints(service, access.admin, access.operators, self._settings.max_body_bytes),
            PreviewLinkEndpoint(self._preview_links, components.catalogs, access.admin),
            DemoEndpoints(components.store, self._hash_key),
            OpenApiEndpoint(),
            PageEndpoints(),
        )
        return [route for endpoint in endpoints for route in endpoint.routes()]


def _router(lifespan: Lifespan[Starlette] | None = None) -> Starlette:
    app = Starlette(lifespan=lifespan, exception_handlers={AdServerError: on_error, HTTPException: on_http_error})
    app.router.redirect_slashes = False
    return app


def _freeze_memory() -> None:
    """Exclude the objects that exist after the start from garbage collection, because they stay."""
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
