"""The composition root: settings become a store, lanes, clients and routes; what is opened last is closed first."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Router

from app.assembly.upstream_ads import UpstreamAds
from app.assembly.upstream_documents import UpstreamDocuments
from app.errors import AdServerError
from app.observing.metrics import Metrics
from app.serving.adserver import AdServer, Limits
from app.serving.answers import Answers
from app.serving.catalogs import CatalogHolder
from app.serving.keys import hash_key
from app.serving.tokens import TokenSigner
from app.settings import Settings
from app.store.connections import Store, Timeouts
from app.store.quotas import Quotas
from app.upstreams.service import Upstreams
from app.web.clients import ClientReader
from app.web.players import TagUrl
from app.web.problems import on_error


def create_app(settings: Settings | None = None) -> Starlette:
    """The ASGI application of one worker, by default with the settings of the environment."""
    settings = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            app.router.routes.extend((await _open(settings, stack)).routes)
            yield

    return Starlette(lifespan=lifespan, exception_handlers={AdServerError: on_error})


async def _open(settings: Settings, stack: AsyncExitStack) -> Router:
    """Opens everything in the running event loop; the stack closes it in reverse."""
    store = _store(settings)
    stack.push_async_callback(store.close)
    metrics = Metrics()
    catalogs = await CatalogHolder.open(store)
    upstreams = Upstreams(
        Quotas(store), UpstreamDocuments(settings.beacon_base_url), metrics, allowed_networks=settings.allowed_networks
    )
    stack.push_async_callback(upstreams.aclose)
    secret = settings.secret_key.get_secret_value()
    adserver = AdServer(
        store,
        catalogs,
        UpstreamAds(upstreams.chain, settings.upstream_deadline_ms / 1000),
        metrics,
        hash_key(secret),
        _limits(settings),
    )
    adserver.start()
    stack.push_async_callback(adserver.stop)
    signer = TokenSigner(
        [secret, *(key.get_secret_value() for key in settings.retired_secret_keys)], settings.beacon_ttl_s
    )
    answers = Answers(signer, settings.beacon_base_url)
    players = TagUrl(adserver, answers, ClientReader(settings.trusted_proxies), _identify_everybody, metrics)
    return Router(players.routes())


def _identify_everybody(_values: Mapping[str, str]) -> bool:
    return True


def _store(settings: Settings) -> Store:
    return Store(
        settings.database_url,
        serving_connections=settings.lane_connections + settings.fetch_connections,
        other_connections=settings.pool_connections,
        timeouts=Timeouts(
            lock_ms=settings.lock_timeout_ms,
            statement_ms=settings.statement_timeout_ms,
            idle_in_transaction_ms=settings.idle_in_transaction_timeout_ms,
        ),
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        request_deadline_s=settings.request_deadline_ms / 1000,
        upstream_deadline_s=settings.upstream_deadline_ms / 1000,
        group_patience_s=settings.group_patience_ms / 1000,
        group_max=settings.group_max,
        queue_max=settings.queue_max,
        lane_connections=settings.lane_connections,
        fetch_connections=settings.fetch_connections,
    )
