"""Asking one upstream once, with everything that protects it and us from each other."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import stamina

from app.domain import Upstream
from app.errors import NoAd, UnusableVast, UpstreamFailed
from app.observer import Observer
from app.upstreams.breaker import Breakers
from app.upstreams.bulkhead import Bulkhead
from app.upstreams.client import Limits, UpstreamClient
from app.upstreams.error_calls import ErrorCalls
from app.upstreams.failures import AD, LOST, OF_OURS, FailureKind, NotAnswered
from app.upstreams.fetched import Documents, RequestValues
from app.upstreams.latencies import Latencies
from app.upstreams.refusals import Refusals
from app.vast.wrapper_rules import WrapperError

ATTEMPTS = 2
RETRY_JITTER_S = 0.02

MaySend = Callable[[Upstream], bool]
"""Whether the upstream's `max_qps` has room for one more request; takes its place if so."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An upstream's ad: the body as it came, and compiled."""

    body: bytes
    document: Any
    from_cache: bool = False


class Asker:
    """Asks upstreams through their breaker, bulkhead and quota; counts what comes of it."""

    def __init__(
        self,
        client: UpstreamClient,
        documents: Documents,
        observer: Observer,
        may_send: MaySend,
        latencies: Latencies,
    ) -> None:
        self._clock = asyncio.get_running_loop().time
        self._client = client
        self._documents = documents
        self._observer = observer
        self._may_send = may_send
        self._error_calls = ErrorCalls(client)
        self.latencies = latencies
        self.refusals = Refusals()
        self.breakers = Breakers(observer.breaker_changed)
        self.bulkhead = Bulkhead()

    async def ask(
        self, upstream: Upstream, context: RequestValues, within_s: float, *, hurried: bool = False
    ) -> Answer:
        """The upstream's ad within so many seconds, `hurried` if those are fewer than usual; raises UpstreamFailed."""
        started = self._clock()
        outcome: str = LOST
        try:
            with self.breakers.attempt(upstream), self.bulkhead.berth(upstream), _excused(hurried):
                body = await self._send(upstream, context, started + within_s)
                answer = Answer(body, self._compile(upstream, body, context))
            outcome = AD
        except UpstreamFailed as failure:
            outcome = failure.kind
            self.refusals.record(failure)
            raise
        finally:
            seconds = self._clock() - started
            if outcome not in OF_OURS:
                self.latencies.record(upstream.id, seconds)
            self._observer.upstream_attempt_finished(upstream.id, outcome, seconds)
        return answer

    async def _send(self, upstream: Upstream, context: RequestValues, until: float) -> bytes:
        """Sends the request; if the connection fails before the answer begins, once more on another."""
        if self._clock() >= until:
            raise UpstreamFailed(upstream.id, FailureKind.DEADLINE)
        if not self._may_send(upstream):
            raise UpstreamFailed(upstream.id, FailureKind.QUOTA)
        try:
            return await self._get(upstream, context, until)
        except NotAnswered as failure:
            return await self._send_again(upstream, context, until, failure)

    async def _send_again(
        self, upstream: Upstream, context: RequestValues, until: float, failure: NotAnswered
    ) -> bytes:
        # What makes the retry costs a good part of a whole request: only requests that failed once pay for it.
        async for attempt in stamina.retry_context(
            on=NotAnswered,
            attempts=ATTEMPTS,
            wait_initial=0,
            wait_jitter=RETRY_JITTER_S,
            timeout=until - self._clock(),
        ):
            with attempt:
                # Where the quota has no room for a second request, what became of the first is what is known.
                if attempt.num == 1 or not self._may_send(upstream):
                    raise failure
                return await self._get(upstream, context, until, fresh=True)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _get(self, upstream: Upstream, context: RequestValues, until: float, *, fresh: bool = False) -> bytes:
        within_s = until - self._clock()
        limits = Limits(within_s, upstream.max_body_bytes, upstream.max_redirects)
        url = context.tag_url(upstream.tag_url, int(1000 * within_s))
        # A body that is kept is for everybody: an upstream must not choose it by who happened to ask first.
        headers = {} if upstream.cache_ttl_s else context.headers()
        return await self._client.tag(upstream.id, url, headers, limits, fresh=fresh)

    def _compile(self, upstream: Upstream, body: bytes, context: RequestValues) -> Any:
        try:
            return self._documents.compile(body)
        except NoAd as error:
            # A player that follows a Wrapper calls these URLs, and here this server asks in its place (VAST 3.0
            # section 2.4.2.4).
            self._error_calls.report(error.error_urls, WrapperError.NO_AD, context)
            detail = str(error) if error.has_ads else ""
            raise UpstreamFailed(upstream.id, FailureKind.NO_AD, detail) from error
        except UnusableVast as error:
            raise UpstreamFailed(upstream.id, FailureKind.MALFORMED, str(error)) from error

    async def aclose(self) -> None:
        """Lets the error calls that are under way come to an end."""
        await self._error_calls.aclose()


@contextmanager
def _excused(hurried: bool) -> Iterator[None]:
    """A timeout of a hurried attempt is ours."""
    try:
        yield
    except UpstreamFailed as failure:
        if hurried and failure.kind == FailureKind.TIMEOUT:
            raise UpstreamFailed(failure.upstream_id, FailureKind.HURRIED) from failure
        raise
