"""The ad server without HTTP, with a real database and real upstreams, for tests of its decisions."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from ipaddress import ip_network

from app.domain import NoFillReason
from app.observability.metrics import Metrics
from app.serving.adserver import AdServer
from app.serving.answers import Answers
from app.serving.candidates import CandidateResolver
from app.serving.catalogs import CatalogHolder
from app.serving.context import open_context
from app.serving.database_clock import DatabaseClock
from app.serving.keys import hash_key, new_request_key
from app.serving.limits import ServingLimits
from app.serving.outcomes import NoFill, Outcome, Served, wait_for_outcome
from app.serving.tokens import TokenSigner
from app.serving.upstream_ads import UpstreamAds
from app.store.connections import Store, Timeouts
from app.store.quotas import Quotas
from app.targeting.viewer import ViewerReader
from app.upstreams.service import UpstreamService
from app.vast.document_cache import DocumentCache
from app.web.parameters import read_parameter
from app.web.query import ad_request
from tests.players import becomes, connected
from tests.postgres import as_server

SECRET = "a secret for tests"
BEACON_TTL_S = 3600
LIMITS = ServingLimits(
    request_deadline_s=5,
    upstream_deadline_s=3,
    group_fetch_wait_s=1,
    group_max=128,
    queue_max=10_000,
    serve_connections=2,
    fetch_connections=4,
)


class Server:
    """One worker's ad server, and the requests of a player."""

    def __init__(
        self, adserver: AdServer, ads: UpstreamAds, store: Store, upstreams: UpstreamService, clock: DatabaseClock
    ) -> None:
        self.adserver = adserver
        self.ads = ads
        self.store = store
        self.upstreams = upstreams
        self.clock = clock

    async def ask(self, **values: str) -> Outcome:
        """Return the outcome of a request with these parameters of the tag URL."""
        request = ad_request({name: text for name, value in values.items() if (text := read_parameter(name, value))})
        with open_context(values.get("request_id") or str(new_request_key()), {}) as context:
            return await wait_for_outcome(partial(self.adserver.submit, request, context))

    async def served(self, **values: str) -> Served:
        """Return the ads; fail if there is no ad."""
        outcome = await self.ask(**values)
        assert isinstance(outcome, Served), outcome
        return outcome

    async def campaign(self, **values: str) -> str:
        """Return the campaign of the only ad."""
        (ad,) = (await self.served(**values)).ads
        return ad.campaign_id

    async def fetch_wait_is_over(self) -> None:
        """Return when no group waits for its upstreams any more."""

        async def none_waits() -> bool:
            busy, _ = self.adserver.connections["fetch"]
            return busy == 0

        await becomes(none_waits)

    async def has_answer_of(self, upstream_id: str) -> None:
        """Return when no request to the upstream is running any more."""

        async def nothing_is_asked() -> bool:
            return not self.upstreams.in_flight.get(upstream_id)

        await becomes(nothing_is_asked)

    async def reason(self, **values: str) -> NoFillReason:
        """Return the reason for the lack of an ad; fail if there is an ad."""
        outcome = await self.ask(**values)
        assert isinstance(outcome, NoFill), outcome
        return outcome.reason


@asynccontextmanager
async def running(
    url: str, *, lock_ms: int = 5000, statement_ms: int = 10_000, **limits: float
) -> AsyncIterator[Server]:
    """Run a worker inside the block, in the server's role; `limits` override those of LIMITS."""
    bounds = replace(LIMITS, **limits)  # type: ignore[arg-type]
    connections = bounds.serve_connections + bounds.fetch_connections
    timeouts = Timeouts(lock_ms=lock_ms, statement_ms=statement_ms, idle_in_transaction_ms=10_000)
    store = Store(as_server(url), serving_connections=connections, general_connections=4, timeouts=timeouts)
    documents = DocumentCache("http://127.0.0.1")
    upstreams = UpstreamService(Quotas(store), documents, Metrics(), allowed_networks=[ip_network("127.0.0.1/32")])
    ads = UpstreamAds(upstreams.chain, upstreams.wrapper_resolver, bounds)
    catalogs = await CatalogHolder.open(store)
    resolver = CandidateResolver(catalogs, upstreams.rate_limiter, hash_key(SECRET), ViewerReader())
    adserver = AdServer(
        store,
        catalogs,
        resolver,
        ads,
        Metrics(),
        Answers(TokenSigner([SECRET], BEACON_TTL_S), "http://127.0.0.1"),
        bounds,
    )
    adserver.start()
    try:
        yield Server(adserver, ads, store, upstreams, resolver.clock)
    finally:
        await adserver.stop()
        await upstreams.aclose()
        await store.close()


WAITERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def somebody_waits(url: str, number: int = 1) -> None:
    """Return when this many sessions of the database wait for a lock."""
    async with connected(url) as connection:

        async def waiting() -> bool:
            waiters: int = await connection.fetchval(WAITERS)
            return waiters >= number

        await becomes(waiting)
