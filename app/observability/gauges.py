"""Gauges: what there is of everything that may run out, looked at before every flush of the metrics."""

from app.observability.logs import LineWriter
from app.observability.metrics import Metrics
from app.observability.request_buffer import RequestBuffer
from app.observability.upstream_refusals import SharedRefusals
from app.serving.adserver import AdServer
from app.store.connections import Store
from app.upstreams.service import Upstreams


class Gauges:
    """Looks at the parts of one worker."""

    def __init__(
        self,
        metrics: Metrics,
        requests: RequestBuffer,
        log: LineWriter,
        adserver: AdServer,
        store: Store,
        upstreams: Upstreams,
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
        """Sets every gauge, and has requests counted that were answered just now; costs about as much as one."""
        self._requests.flush()
        self._refusals.publish()
        self._metrics.log_lines_dropped(self._log.take_dropped())
        self._metrics.lanes(self._adserver.waiting)
        for lane, (busy, connections) in self._adserver.connections.items():
            self._metrics.pool(lane, busy, connections)
        self._metrics.pool("other", *self._store.pool_in_use)
        self._metrics.in_flight(self._upstreams.in_flight)
        self._metrics.quotas(self._upstreams.rates.rates_per_s)
        self._metrics.cached(len(self._upstreams.cache), self._upstreams.cache.size_bytes)
