"""Server-side unwrapping: follows the Wrappers of a document and merges the whole chain into one document."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from app.domain import Upstream
from app.errors import NoAd, UnusableVast, UpstreamFailed
from app.upstreams.client import FetchLimits, UpstreamClient
from app.upstreams.error_pixels import ErrorPixelSender
from app.upstreams.failures import FailureKind
from app.upstreams.refusals import Refusals
from app.upstreams.request_values import RequestValues
from app.vast.element_tree import serialize
from app.vast.parser import Ad, ParsedDocument, parse
from app.vast.wrapper_merge import merge_wrapper, replace_wrappers
from app.vast.wrapper_rules import WRAPPERS_MAX, WrapperError, admitted_ads, fallback_ad

REQUESTS_MAX = 20
"""Requests for one document: Wrappers that lead to pods of Wrappers would otherwise multiply them."""

ERROR_CODES: Mapping[str, WrapperError] = {
    FailureKind.TIMEOUT: WrapperError.TIMEOUT,
    FailureKind.DEADLINE: WrapperError.NO_AD_IN_TIME,
    FailureKind.WRAPPER_LIMIT: WrapperError.LIMIT,
    FailureKind.NO_AD: WrapperError.NO_AD,
}
"""The [ERRORCODE] of a failure; it is WrapperError.GENERAL for every other kind."""


@dataclass(frozen=True, slots=True)
class _Trail:
    """The Wrappers that led to a document, outermost first: their Error URLs and their VASTAdTagURIs with macros."""

    error_urls: tuple[str, ...] = ()
    urls: tuple[str | None, ...] = ()

    def after(self, wrapper: Ad) -> "_Trail":
        """Return the trail extended by one Wrapper."""
        return _Trail((*self.error_urls, *wrapper.error_urls), (*self.urls, wrapper.tag_uri))

    @property
    def is_loop(self) -> bool:
        """Whether two Wrappers have the same VASTAdTagURI."""
        return len(set(self.urls)) < len(self.urls)


class WrapperResolver:
    """Unwraps the documents of upstreams; requests the Error URLs of failed chains in the background."""

    def __init__(self, client: UpstreamClient, refusals: Refusals | None = None) -> None:
        self._client = client
        self._refusals = refusals or Refusals()
        self._error_pixels = ErrorPixelSender(client)

    async def unwrap(self, upstream: Upstream, body: bytes, values: RequestValues, deadline: float) -> bytes:
        """Return the upstream's document with every Wrapper replaced by the ads that it leads to.

        `deadline` is a time of the event loop's clock. Each InLine of the result contains the trackers of all its
        Wrappers. Raises UpstreamFailed if no ad is left.
        """
        chain = _Chain(self._client, self._error_pixels, upstream, values, deadline)
        try:
            return await self._unwrap(chain, body)
        except UpstreamFailed as failure:
            self._refusals.record(failure)
            raise

    async def _unwrap(self, chain: "_Chain", body: bytes) -> bytes:
        try:
            document = parse(body)
            unwrapped = await chain.resolve(document, document.playable_ads, _Trail())
        except UnusableVast as error:
            raise UpstreamFailed(chain.upstream.id, FailureKind.MALFORMED, str(error)) from error
        if not unwrapped.has_ad:
            raise chain.failure
        return serialize(unwrapped.tree)

    async def aclose(self) -> None:
        """Wait for the error pixels that are being sent."""
        await self._error_pixels.aclose()


@dataclass(slots=True)
class _Chain:
    """One document that is being unwrapped."""

    client: UpstreamClient
    error_pixels: ErrorPixelSender
    upstream: Upstream
    values: RequestValues
    deadline: float
    requests: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Kind and detail of each failed chain."""

    @property
    def failure(self) -> UpstreamFailed:
        """The first failure, or "no ad" for a document without ads."""
        kind, detail = next(iter(self.failures), (FailureKind.NO_AD, ""))
        if kind in (FailureKind.TIMEOUT, FailureKind.DEADLINE):
            kind = FailureKind.WRAPPER_TIMEOUT
        return UpstreamFailed(self.upstream.id, kind, detail)

    async def resolve(self, document: ParsedDocument, ads: Collection[Ad], trail: _Trail) -> ParsedDocument:
        """Return these ads of the document with their Wrappers resolved; raise UnusableVast if that is impossible."""
        wrappers = [ad for ad in ads if ad.is_wrapper]
        answers = await asyncio.gather(*(self._follow(document, wrapper, trail) for wrapper in wrappers))
        unwrapped = {wrapper: answer for wrapper, answer in zip(wrappers, answers, strict=True) if answer is not None}
        substitutes: dict[Ad, Ad] = {}
        unresolved = {ad for ad in document.ads if ad.is_wrapper and ad not in unwrapped}
        for failed in wrappers:
            if failed not in unwrapped:
                substitute = fallback_ad(document, failed, unresolved | set(substitutes.values()))
                if substitute is not None:
                    substitutes[failed] = substitute
        return replace_wrappers(document, ads, unwrapped, substitutes)

    async def _follow(self, document: ParsedDocument, wrapper: Ad, trail: _Trail) -> ParsedDocument | None:
        """Return the ads that a Wrapper leads to, merged with it; without ads, report an error and return None."""
        trail = trail.after(wrapper)
        try:
            answer = await self._request(wrapper, trail)
            inner = await self.resolve(answer, self._admitted_ads(wrapper, answer), trail)
            return merge_wrapper(document, wrapper, inner, inner.ads) if inner.has_ad else None
        except UpstreamFailed as failure:
            self._fail(trail, failure.kind, failure.detail)
        except NoAd:
            self._fail(trail, FailureKind.NO_AD)
        except UnusableVast as error:
            self._fail(trail, FailureKind.MALFORMED, str(error))
        return None

    async def _request(self, wrapper: Ad, trail: _Trail) -> ParsedDocument:
        """Return the document at a Wrapper's VASTAdTagURI; raise UpstreamFailed or UnusableVast."""
        remaining_s = self.deadline - asyncio.get_running_loop().time()
        if remaining_s <= 0:
            raise UpstreamFailed(self.upstream.id, FailureKind.DEADLINE)
        if len(trail.urls) > WRAPPERS_MAX or trail.is_loop or self.requests >= REQUESTS_MAX:
            raise UpstreamFailed(self.upstream.id, FailureKind.WRAPPER_LIMIT)
        self.requests += 1
        limits = FetchLimits(remaining_s, self.upstream.max_body_bytes, self.upstream.max_redirects)
        url = self.values.untrusted_url(wrapper.tag_uri or "", int(1000 * remaining_s))
        return parse(await self.client.get_untrusted(self.upstream.id, url, self.values.headers(), limits))

    def _admitted_ads(self, wrapper: Ad, answer: ParsedDocument) -> list[Ad]:
        ads = admitted_ads(wrapper, answer)
        if not ads:
            self._report(answer.error_urls, WrapperError.NO_AD)
            raise UpstreamFailed(self.upstream.id, FailureKind.NO_AD)
        return ads

    def _fail(self, trail: _Trail, kind: str, detail: str = "") -> None:
        """Record a failed chain, and report it to all its Wrappers with the same code (VAST 4.2 section 2.3.6.3)."""
        self.failures.append((kind, f"response to Wrapper {len(trail.urls)}: {detail}" if detail else ""))
        self._report(trail.error_urls, ERROR_CODES.get(kind, WrapperError.GENERAL))

    def _report(self, error_urls: Sequence[str], code: WrapperError) -> None:
        self.error_pixels.report(error_urls, code, self.values)
