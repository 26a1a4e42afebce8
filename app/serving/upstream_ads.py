"""Fetches upstream ads for pending requests."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from sys import getsizeof

from app.domain import Upstream
from app.errors import UnusableVast, UpstreamFailed
from app.serving.limits import ServingLimits
from app.serving.pending import PendingRequest
from app.upstreams.chain import UpstreamChain
from app.upstreams.failures import FailureKind
from app.upstreams.fetched_ad import FetchedAd
from app.upstreams.wrapper_resolver import WrapperResolver
from app.vast.macro_sources import MacroContext
from app.vast.macros import cache_key, expand, expand_untrusted

ANSWER_RESERVE_S = 0.05
"""Part of a request's deadline that is reserved for paying and answering after its ad has arrived."""

LATE_FRACTION = 0.5
"""A request with less than this fraction of the usual time for its upstreams has been delayed by this server."""

VALUES_BYTES = 1000
"""The memory that the values of a request take in addition to their text."""


class RequestMacroValues:
    """The values of a request for the macros of URLs, and for headers. Keeps no reference to the pending request."""

    def __init__(self, pending: PendingRequest) -> None:
        context = pending.context
        known = {"ip": context.client.address, "ua": context.client.user_agent}
        values = {name: value for name, value in known.items() if value is not None} | dict(pending.request.values)
        self._macros = MacroContext(
            values=values,
            timestamp=context.timestamp,
            cachebusting=context.cachebusting,
            correlator=pending.progress.correlator,
            request_id=context.request_id,
            withhold_identity=not pending.request.identifiable,
        )

    @property
    def size_bytes(self) -> int:
        """The memory that the values take, in bytes."""
        return VALUES_BYTES + sum(map(getsizeof, self._macros.values.values()))

    def tag_url(self, template: str, remaining_ms: int) -> str:
        """Return the tag URL with its macros replaced."""
        return expand(template, self._macros, {"tmax": str(remaining_ms)})

    def untrusted_url(self, template: str, remaining_ms: int) -> str:
        """Return a Wrapper's target URL with its macros replaced; raise UnusableVast if it is too long."""
        return expand_untrusted(template, self._macros, {"tmax": str(remaining_ms)})

    def error_url(self, template: str, code: int) -> str:
        """Return a Wrapper's Error URL with its macros replaced; raise UnusableVast if it is too long."""
        return expand_untrusted(template, self._macros, {"ERRORCODE": str(code)})

    def cache_key(self, template: str) -> str:
        """Return the URL without the values that change with every request."""
        return cache_key(template, self._macros)

    def headers(self) -> Mapping[str, str]:
        """Return the headers that identify the viewer (VAST 4.2 section 1.2.4)."""
        values = self._macros.values
        headers = {"X-Device-User-Agent": values.get("ua"), "X-Device-IP": values.get("ip")}
        if self._macros.withhold_identity:
            headers["X-Device-IP"] = None
        if values.get("gpc") == "1":
            headers["Sec-GPC"] = "1"
        return {name: value for name, value in headers.items() if value is not None and value.isascii()}


class UpstreamAds:
    """Fetches ads from upstreams, finds them in the cache, and restores them from stored documents."""

    def __init__(self, chain: UpstreamChain, wrapper_resolver: WrapperResolver, limits: ServingLimits) -> None:
        self._chain = chain
        self._wrapper_resolver = wrapper_resolver
        self._usual_s = min(limits.upstream_deadline_s, limits.request_deadline_s - ANSWER_RESERVE_S)

    async def fetch(self, pending: PendingRequest, upstreams: Sequence[Upstream]) -> FetchedAd:
        """Return the first ad that an upstream of the list has in time and that suits the request.

        Raise UpstreamFailed if there is no such ad.
        """
        values = RequestMacroValues(pending)
        now = asyncio.get_running_loop().time()
        deadline = min(pending.deadline - ANSWER_RESERVE_S, now + self._usual_s)
        late = deadline - now < LATE_FRACTION * self._usual_s
        remaining = list(upstreams)
        while True:
            fetched = await self._chain.fetch(remaining, values, deadline, is_late=late)
            while (upstream := remaining.pop(0)).id != fetched.upstream_id:
                pass
            if _suits(fetched, pending):
                return fetched
            try:
                return await self._unwrapped(fetched, upstream, values, _share(deadline, len(remaining)))
            except UpstreamFailed:
                if not remaining:
                    raise

    async def _unwrapped(
        self, fetched: FetchedAd, upstream: Upstream, values: RequestMacroValues, deadline: float
    ) -> FetchedAd:
        """Return the same ad without its Wrappers.

        They are followed for a cached body too, because they can lead to another ad every time.
        """
        if not fetched.document.fits_pods:
            raise UpstreamFailed(upstream.id, FailureKind.MALFORMED, "VAST 1 cannot be merged into a later document")
        body = await self._wrapper_resolver.unwrap(upstream, fetched.body, values, deadline)
        try:
            document = self._chain.from_stored_body(upstream.id, body).document
        except UnusableVast as error:
            raise UpstreamFailed(upstream.id, FailureKind.MALFORMED, str(error)) from error
        return replace(fetched, body=body, document=document)

    def cached(self, pending: PendingRequest, upstreams: Sequence[Upstream]) -> FetchedAd | None:
        """Return the ad if it is cached and suits the request without being unwrapped."""
        if not any(upstream.cache_ttl_s for upstream in upstreams):
            return None
        fetched = self._chain.find_cached(upstreams, RequestMacroValues(pending))
        return fetched if fetched is not None and _suits(fetched, pending) else None

    def from_stored_document(self, upstream_id: str, document: bytes) -> FetchedAd:
        """Return the ad of a document that was served and stored."""
        return self._chain.from_stored_body(upstream_id, document)


def _suits(fetched: FetchedAd, pending: PendingRequest) -> bool:
    """Return whether the document can be served as it is."""
    document = fetched.document
    if document.has_wrapper and pending.request.values.get("unwrap") == "1":
        return False
    return document.fits_pods or pending.request.pod_size == 1


def _share(deadline: float, others: int) -> float:
    """Return the deadline for following one upstream's Wrappers, which leaves time for the upstreams after it."""
    now = asyncio.get_running_loop().time()
    return now + (deadline - now) / (others + 1)
