"""Ads from upstreams, as serving asks for them: a pending's values go into the tag URL, the chain does the rest."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from sys import getsizeof

from app.domain import Upstream
from app.errors import UnusableVast, UpstreamFailed
from app.serving.limits import ServingLimits
from app.serving.outcomes import FetchedAd
from app.serving.pending import PendingRequest
from app.upstreams.chain import UpstreamChain
from app.upstreams.failures import FailureKind
from app.upstreams.fetched import Fetched
from app.upstreams.wrapper_resolver import Unwrapper
from app.vast.macro_sources import MacroContext
from app.vast.macros import cache_key, expand, expand_stranger

ANSWERING_S = 0.05
"""What is left of a request's deadline for paying and answering once its ad is here."""

LATE = 0.5
"""A request with less than this part of the usual time for its upstreams has waited for too long with us."""

VALUES_BYTES = 1000
"""What the values of a request take beside their text."""


class RequestMacroValues:
    """What a pending's request knows, as tag URLs and headers need it; the pending itself is not kept."""

    def __init__(self, pending: PendingRequest) -> None:
        context = pending.context
        known = {"ip": context.client_ip, "ua": context.client_ua}
        values = {name: value for name, value in known.items() if value is not None} | dict(pending.request.values)
        self._macros = MacroContext(
            values=values,
            timestamp=context.timestamp,
            cachebusting=context.cachebusting,
            correlator=pending.correlator,
            request_id=context.request_id,
            withhold_identity=not pending.request.identifiable,
        )

    @property
    def size_bytes(self) -> int:
        """The memory that it takes."""
        return VALUES_BYTES + sum(map(getsizeof, self._macros.values.values()))

    def tag_url(self, template: str, remaining_ms: int) -> str:
        """The URL to ask, its macros replaced."""
        return expand(template, self._macros, {"tmax": str(remaining_ms)})

    def stranger_url(self, template: str, remaining_ms: int) -> str:
        """The URL that a Wrapper points to, its macros replaced; raises UnusableVast for one that is too long."""
        return expand_stranger(template, self._macros, {"tmax": str(remaining_ms)})

    def error_url(self, template: str, code: int) -> str:
        """The Error URL of a Wrapper, its macros replaced; raises UnusableVast for one that is too long."""
        return expand_stranger(template, self._macros, {"ERRORCODE": str(code)})

    def cache_key(self, template: str) -> str:
        """The URL without what changes with every request."""
        return cache_key(template, self._macros)

    def headers(self) -> Mapping[str, str]:
        """Who watches, as a server says it for its client (VAST 4.2 section 1.2.4)."""
        values = self._macros.values
        headers = {"X-Device-User-Agent": values.get("ua"), "X-Device-IP": values.get("ip")}
        if self._macros.withhold_identity:
            headers["X-Device-IP"] = None
        if values.get("gpc") == "1":
            headers["Sec-GPC"] = "1"
        return {name: value for name, value in headers.items() if value is not None and value.isascii()}


class UpstreamAds:
    """Serving's source of the ads that are not its own."""

    def __init__(self, chain: UpstreamChain, unwrapper: Unwrapper, limits: ServingLimits) -> None:
        self._chain = chain
        self._unwrapper = unwrapper
        self._usual_s = min(limits.upstream_deadline_s, limits.request_deadline_s - ANSWERING_S)

    async def fetch(self, pending: PendingRequest, upstreams: Sequence[Upstream]) -> FetchedAd:
        """The first ad that an upstream of the list has in time, and that suits the request; raises UpstreamFailed."""
        values = RequestMacroValues(pending)
        now = asyncio.get_running_loop().time()
        deadline = min(pending.deadline - ANSWERING_S, now + self._usual_s)
        late = deadline - now < LATE * self._usual_s
        left = list(upstreams)
        while True:
            fetched = await self._chain.fetch(left, values, deadline, late=late)
            while (upstream := left.pop(0)).id != fetched.upstream_id:
                pass
            if _suits(fetched, pending):
                return fetched
            try:
                return await self._made_to_suit(fetched, upstream, values, _share(deadline, len(left)))
            except UpstreamFailed:
                if not left:
                    raise

    async def _made_to_suit(
        self, fetched: Fetched, upstream: Upstream, values: RequestMacroValues, deadline: float
    ) -> FetchedAd:
        """The same ad unwrapped; the chain is followed for a cached body too, because it leads elsewhere every time."""
        if not fetched.document.fits_pods:
            raise UpstreamFailed(upstream.id, FailureKind.MALFORMED, "VAST 1 has no place in a later document")
        body = await self._unwrapper.unwrap(upstream, fetched.body, values, deadline)
        try:
            document = self._chain.restore(upstream.id, body).document
        except UnusableVast as error:
            raise UpstreamFailed(upstream.id, FailureKind.MALFORMED, str(error)) from error
        return replace(fetched, body=body, document=document)

    def in_hand(self, pending: PendingRequest, upstreams: Sequence[Upstream]) -> FetchedAd | None:
        """The ad, if it is in the cache and need not be unwrapped."""
        if not any(upstream.cache_ttl_s for upstream in upstreams):
            return None
        fetched = self._chain.in_hand(upstreams, RequestMacroValues(pending))
        return fetched if fetched is not None and _suits(fetched, pending) else None

    def restore(self, upstream_id: str, document: bytes) -> FetchedAd:
        """The ad of a document that was served before."""
        return self._chain.restore(upstream_id, document)


def _suits(fetched: Fetched, pending: PendingRequest) -> bool:
    """Whether the document can be handed out as it is."""
    document = fetched.document
    if document.has_wrapper and pending.request.values.get("unwrap") == "1":
        return False
    return document.fits_pods or pending.request.pod_size == 1


def _share(deadline: float, others: int) -> float:
    """Until when one upstream's chain may be followed, so that it leaves time for the upstreams after it."""
    now = asyncio.get_running_loop().time()
    return now + (deadline - now) / (others + 1)
