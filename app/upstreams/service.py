"""Everything that asks upstreams, put together: one object for each worker."""

import asyncio
import ssl
from collections.abc import Mapping, Sequence

from app.domain import Upstream
from app.observer import Observer
from app.upstreams.addresses import Network
from app.upstreams.asker import Asker
from app.upstreams.cache import BodyCache
from app.upstreams.chain import UpstreamChain
from app.upstreams.client import UpstreamClient, Wrap, as_it_is
from app.upstreams.fetched import Documents
from app.upstreams.latencies import Latencies
from app.upstreams.quota import QuotaLease, RateLimit
from app.upstreams.wrapper_resolver import Unwrapper


class Upstreams:
    """Open it in the running event loop; close it when the server stops.

    `rates` also limits publishers' requests: `rates.allow("publisher:ID", requests_per_s, burst)`.
    """

    def __init__(
        self,
        leases: QuotaLease,
        documents: Documents,
        observer: Observer,
        *,
        allowed_networks: Sequence[Network] = (),
        tls: ssl.SSLContext | None = None,
        wrap: Wrap = as_it_is,
    ) -> None:
        clock = asyncio.get_running_loop().time
        self.client = UpstreamClient(allowed_networks, tls, wrap)
        self.rates = RateLimit(leases, observer, clock)
        self._asker = Asker(self.client, documents, observer, self._may_send, Latencies(clock))
        self.refusals = self._asker.refusals
        self.cache = BodyCache(self._asker, observer, clock)
        self.chain = UpstreamChain(self._asker, self.cache, documents)
        self.unwrapper = Unwrapper(self.client, self.refusals)

    def _may_send(self, upstream: Upstream) -> bool:
        return upstream.max_qps is None or self.rates.allow(f"upstream:{upstream.id}", upstream.max_qps)

    @property
    def in_flight(self) -> Mapping[str, int]:
        """Requests in flight, by upstream."""
        return self._asker.bulkhead.in_flight

    @property
    def breaker_states(self) -> Mapping[str, str]:
        """`closed`, `open` or `half_open`, by upstream, of those that were asked."""
        return self._asker.breakers.states

    async def aclose(self) -> None:
        """Ends what is under way, gives back what was leased, and closes every connection."""
        await self.chain.aclose()
        await self.cache.aclose()
        await self._asker.aclose()
        await self.unwrapper.aclose()
        await self.rates.aclose()
        await self.client.aclose()
