"""Gauges of everything that may run out, sampled before every flush of the metrics."""

from app.observability.logs import LineWriter
from app.observability.metrics import Metrics
from app.observability.request_buffer import RequestBuffer
from app.observability.upstream_refusals import SharedRefusals
from app.serving.adserver import AdServer
from app.store.connections import Store
from app.upstreams.service import UpstreamService


class GaugeSampler:
    """Samples the components of one worker."""

    def __init__(
        self,
        metrics: Metrics,
        requests: RequestBuffer,
        log: LineWriter,
        adserver: AdServer,
        store: Store,
        upstreams: UpstreamService,
        refusals: SharedRefusals,
    ) -> None:
        self._metrics = metrics
        self._requests = requests
        self._log = log
        self._adserver = adserver
        self._store = store
        self._upstreams = upstreams
        self._refusals = refusals

    def sample(self) -> None:
        """Set every gauge, and have buffered requests counted. It costs about as much as serving one request."""
        self._requests.flush()
        self._refusals.publish()
        self._metrics.count_dropped_log_lines(self._log.take_dropped())
        self._metrics.set_waiting(self._adserver.waiting)
        for lane, (in_use, size) in self._adserver.connections.items():
            self._metrics.set_pool(lane, in_use, size)
        self._metrics.set_pool("other", *self._store.pool_in_use)
        self._metrics.set_upstreams_in_flight(self._upstreams.in_flight)
        self._metrics.set_quotas(self._upstreams.rate_limiter.rates_per_s)
        self._metrics.set_upstream_cache(len(self._upstreams.cache), self._upstreams.cache.size_bytes)
