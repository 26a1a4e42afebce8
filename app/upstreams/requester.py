"""One request to one upstream, with the protections of the upstream and of this server around it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import stamina

from app.domain import Upstream
from app.errors import NoAd, UnusableVast, UpstreamFailed
from app.observer import Observer
from app.upstreams.breaker import Breakers
from app.upstreams.bulkhead import Bulkhead
from app.upstreams.client import FetchLimits, UpstreamClient
from app.upstreams.error_pixels import ErrorPixelSender
from app.upstreams.failures import NOT_UPSTREAM_FAULT, OUTCOME_AD, OUTCOME_CANCELED, FailureKind, NoResponse
from app.upstreams.latencies import Latencies
from app.upstreams.refusals import Refusals
from app.upstreams.request_values import RequestValues
from app.vast.compiled_document import CompiledDocument
from app.vast.document_cache import DocumentCache
from app.vast.wrapper_rules import WrapperError

ATTEMPTS = 2
RETRY_JITTER_S = 0.02

TakeQuota = Callable[[Upstream], bool]
"""Takes one request from the upstream's `max_qps`; returns whether there was one left."""


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """A response with an ad: its body as received, and the compiled document."""

    body: bytes
    document: CompiledDocument
    from_cache: bool = False


class UpstreamRequester:
    """Sends requests through the upstream's breaker, bulkhead and quota, and records their outcomes."""

    def __init__(
        self,
        client: UpstreamClient,
        documents: DocumentCache,
        observer: Observer,
        take_quota: TakeQuota,
        latencies: Latencies,
    ) -> None:
        self._clock = asyncio.get_running_loop().time
        self._client = client
        self._documents = documents
        self._observer = observer
        self._take_quota = take_quota
        self._error_pixels = ErrorPixelSender(client)
        self.latencies = latencies
        self.refusals = Refusals()
        self.breakers = Breakers(observer.breaker_changed)
        self.bulkhead = Bulkhead()

    async def request(
        self, upstream: Upstream, values: RequestValues, timeout_s: float, *, short_deadline: bool = False
    ) -> UpstreamResponse:
        """Return the upstream's ad within `timeout_s` seconds; raise UpstreamFailed.

        `short_deadline` says that this is less than the upstream's usual timeout, so that a timeout is not its fault.
        """
        started = self._clock()
        outcome: str = OUTCOME_CANCELED
        try:
            with self.breakers.attempt(upstream), self.bulkhead.slot(upstream), _not_upstream_fault(short_deadline):
                body = await self._send(upstream, values, started + timeout_s)
                response = UpstreamResponse(body, self._compile(upstream, body, values))
            outcome = OUTCOME_AD
        except UpstreamFailed as failure:
            outcome = failure.kind
            self.refusals.record(failure)
            raise
        finally:
            seconds = self._clock() - started
            if outcome not in NOT_UPSTREAM_FAULT:
                self.latencies.record(upstream.id, seconds)
            self._observer.upstream_attempt_finished(upstream.id, outcome, seconds)
        return response

    async def _send(self, upstream: Upstream, values: RequestValues, deadline: float) -> bytes:
        """Send the request; retry once on a new connection if the connection fails before the response begins."""
        if self._clock() >= deadline:
            raise UpstreamFailed(upstream.id, FailureKind.DEADLINE)
        if not self._take_quota(upstream):
            raise UpstreamFailed(upstream.id, FailureKind.QUOTA)
        try:
            return await self._get(upstream, values, deadline)
        except NoResponse as failure:
            return await self._retry(upstream, values, deadline, failure)

    async def _retry(self, upstream: Upstream, values: RequestValues, deadline: float, failure: NoResponse) -> bytes:
        # Setting the retry up costs a good part of a whole request, so only requests that failed once pay for it.
        async for attempt in stamina.retry_context(
            on=NoResponse,
            attempts=ATTEMPTS,
            wait_initial=0,
            wait_jitter=RETRY_JITTER_S,
            timeout=deadline - self._clock(),
        ):
            with attempt:
                # Without quota for a second request, the failure of the first one is reported.
                if attempt.num == 1 or not self._take_quota(upstream):
                    raise failure
                return await self._get(upstream, values, deadline, new_connection=True)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _get(
        self, upstream: Upstream, values: RequestValues, deadline: float, *, new_connection: bool = False
    ) -> bytes:
        timeout_s = deadline - self._clock()
        limits = FetchLimits(timeout_s, upstream.max_body_bytes, upstream.max_redirects)
        url = values.tag_url(upstream.tag_url, int(1000 * timeout_s))
        # A cached body is served to everybody, so the upstream must not choose it by the viewer of the first request.
        headers = {} if upstream.cache_ttl_s else values.headers()
        return await self._client.get_tag(upstream.id, url, headers, limits, new_connection=new_connection)

    def _compile(self, upstream: Upstream, body: bytes, values: RequestValues) -> CompiledDocument:
        try:
            return self._documents.compile(body)
        except NoAd as error:
            # A player that follows a Wrapper requests these URLs; here this server sends the request in its place
            # (VAST 3.0 section 2.4.2.4).
            self._error_pixels.report(error.error_urls, WrapperError.NO_AD, values)
            detail = str(error) if error.has_ads else ""
            raise UpstreamFailed(upstream.id, FailureKind.NO_AD, detail) from error
        except UnusableVast as error:
            raise UpstreamFailed(upstream.id, FailureKind.MALFORMED, str(error)) from error

    async def aclose(self) -> None:
        """Wait for the error pixels that are being sent."""
        await self._error_pixels.aclose()


@contextmanager
def _not_upstream_fault(short_deadline: bool) -> Iterator[None]:
    """Turn a timeout under a short deadline into a failure that is not the upstream's fault."""
    try:
        yield
    except UpstreamFailed as failure:
        if short_deadline and failure.kind == FailureKind.TIMEOUT:
            raise UpstreamFailed(failure.upstream_id, FailureKind.SHORT_DEADLINE) from failure
        raise
