"""The composition of this package: one object per worker."""

import asyncio
import ssl
from collections.abc import Mapping, Sequence

from app.domain import Upstream
from app.observer import Observer
from app.upstreams.addresses import Network
from app.upstreams.cache import BodyCache
from app.upstreams.chain import UpstreamChain
from app.upstreams.client import TransportWrapper, UpstreamClient, no_wrapper
from app.upstreams.latencies import Latencies
from app.upstreams.rate_limiter import RateLimiter, TokenBuckets
from app.upstreams.requester import UpstreamRequester
from app.upstreams.wrapper_resolver import WrapperResolver
from app.vast.document_cache import DocumentCache


class UpstreamService:
    """Create it in the running event loop; close it when the server stops.

    `rate_limiter` also limits publishers' requests: `rate_limiter.allow("publisher:ID", requests_per_s, burst)`.
    """

    def __init__(
        self,
        token_buckets: TokenBuckets,
        documents: DocumentCache,
        observer: Observer,
        *,
        allowed_networks: Sequence[Network] = (),
        tls: ssl.SSLContext | None = None,
        wrap: TransportWrapper = no_wrapper,
    ) -> None:
        clock = asyncio.get_running_loop().time
        self.client = UpstreamClient(allowed_networks, tls, wrap)
        self.rate_limiter = RateLimiter(token_buckets, observer, clock)
        self._requester = UpstreamRequester(self.client, documents, observer, self._take_quota, Latencies(clock))
        self.refusals = self._requester.refusals
        self.cache = BodyCache(self._requester, observer, clock)
        self.chain = UpstreamChain(self._requester, self.cache, documents)
        self.wrapper_resolver = WrapperResolver(self.client, self.refusals)

    def _take_quota(self, upstream: Upstream) -> bool:
        return upstream.max_qps is None or self.rate_limiter.allow(f"upstream:{upstream.id}", upstream.max_qps)

    @property
    def in_flight(self) -> Mapping[str, int]:
        """Requests in flight, by upstream."""
        return self._requester.bulkhead.in_flight

    @property
    def breaker_states(self) -> Mapping[str, str]:
        """The states of the breakers of all upstreams with an attempt so far."""
        return self._requester.breakers.states

    async def aclose(self) -> None:
        """Cancel what is running, return leased tokens, and close every connection."""
        await self.chain.aclose()
        await self.cache.aclose()
        await self._requester.aclose()
        await self.wrapper_resolver.aclose()
        await self.rate_limiter.aclose()
        await self.client.aclose()
