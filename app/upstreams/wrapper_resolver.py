"""Following Wrappers for players that cannot: the whole chain becomes one document, within the request's deadline."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from app.domain import Upstream
from app.errors import NoAd, UnusableVast, UpstreamFailed
from app.upstreams.client import Limits, UpstreamClient
from app.upstreams.error_calls import ErrorCalls, ErrorValues
from app.upstreams.failures import FailureKind
from app.upstreams.refusals import Refusals
from app.vast.merge import merge, splice
from app.vast.parse import Ad, Parsed, parse
from app.vast.tree import serialized
from app.vast.wrapper_rules import WRAPPERS_MAX, WrapperError, admitted, fallback

REQUESTS_MAX = 20
"""For one document: Wrappers that lead to pods of Wrappers would otherwise multiply."""

CODES: Mapping[str, WrapperError] = {
    FailureKind.TIMEOUT: WrapperError.TIMEOUT,
    FailureKind.DEADLINE: WrapperError.NO_AD_IN_TIME,
    FailureKind.WRAPPER_LIMIT: WrapperError.LIMIT,
    FailureKind.NO_AD: WrapperError.NO_AD,
}
"""What a failure is called in [ERRORCODE]; every other one is WrapperError.GENERAL."""


class StrangerValues(ErrorValues, Protocol):
    """What a request tells those whose URLs came in a document."""

    def stranger_url(self, template: str, remaining_ms: int) -> str:
        """The URL to ask; raises UnusableVast for one that is too long."""

    def headers(self) -> Mapping[str, str]:
        """Headers that say who watches, as far as that may be said."""


@dataclass(frozen=True, slots=True)
class _Trail:
    """The Wrappers that led to a document, outermost first, and where they pointed, macros and all."""

    error_urls: tuple[str, ...] = ()
    urls: tuple[str | None, ...] = ()

    def after(self, wrapper: Ad) -> "_Trail":
        """The trail one Wrapper further on."""
        return _Trail((*self.error_urls, *wrapper.error_urls), (*self.urls, wrapper.tag_uri))

    @property
    def is_loop(self) -> bool:
        """Whether the last Wrapper points where one before it did."""
        return len(set(self.urls)) < len(self.urls)


class Unwrapper:
    """Unwraps documents of upstreams; tells the chains that failed of it, in the background."""

    def __init__(self, client: UpstreamClient, refusals: Refusals | None = None) -> None:
        self._client = client
        self._refusals = refusals or Refusals()
        self._error_calls = ErrorCalls(client)

    async def unwrap(self, upstream: Upstream, body: bytes, values: StrangerValues, deadline: float) -> bytes:
        """The upstream's document with every Wrapper replaced by the ads that it leads to, until `deadline`.

        That is in seconds of the event loop's clock. The result has no Wrapper any more and says, of every InLine,
        what all its Wrappers say. Raises UpstreamFailed when no ad is left.
        """
        chain = _Chain(self._client, self._error_calls, upstream, values, deadline)
        try:
            return await self._unwrapped(chain, body)
        except UpstreamFailed as failure:
            self._refusals.record(failure)
            raise

    async def _unwrapped(self, chain: "_Chain", body: bytes) -> bytes:
        try:
            document = parse(body)
            unwrapped = await chain.resolve(document, document.playable_ads, _Trail())
        except UnusableVast as error:
            raise UpstreamFailed(chain.upstream.id, FailureKind.MALFORMED, str(error)) from error
        if not unwrapped.has_ad:
            raise chain.failure
        return serialized(unwrapped.tree)

    async def aclose(self) -> None:
        """Lets the error calls that are under way come to an end."""
        await self._error_calls.aclose()


@dataclass(slots=True)
class _Chain:
    """One document on its way to being unwrapped."""

    client: UpstreamClient
    error_calls: ErrorCalls
    upstream: Upstream
    values: StrangerValues
    deadline: float
    requests: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Kind and detail of each chain that failed."""

    @property
    def failure(self) -> UpstreamFailed:
        """Why there is no ad: what failed first, or else that there was none from the beginning."""
        kind, detail = next(iter(self.failures), (FailureKind.NO_AD, ""))
        if kind in (FailureKind.TIMEOUT, FailureKind.DEADLINE):
            kind = FailureKind.WRAPPER_TIMEOUT
        return UpstreamFailed(self.upstream.id, kind, detail)

    async def resolve(self, document: Parsed, ads: Collection[Ad], trail: _Trail) -> Parsed:
        """Those ads of a document without any Wrapper; raises UnusableVast for what cannot be unwrapped."""
        wrappers = [ad for ad in ads if ad.is_wrapper]
        answers = await asyncio.gather(*(self._answer(document, wrapper, trail) for wrapper in wrappers))
        unwrapped = {wrapper: answer for wrapper, answer in zip(wrappers, answers, strict=True) if answer is not None}
        substitutes: dict[Ad, Ad] = {}
        of_no_use = {ad for ad in document.ads if ad.is_wrapper and ad not in unwrapped}
        for failed in wrappers:
            if failed not in unwrapped:
                substitute = fallback(document, failed, of_no_use | set(substitutes.values()))
                if substitute is not None:
                    substitutes[failed] = substitute
        return splice(document, ads, unwrapped, substitutes)

    async def _answer(self, document: Parsed, wrapper: Ad, trail: _Trail) -> Parsed | None:
        """What a Wrapper leads to, merged with what it says itself; None if nothing, and then its trail is told."""
        here = trail.after(wrapper)
        try:
            answer = await self._ask(wrapper, here)
            inner = await self.resolve(answer, self._admitted(wrapper, answer), here)
            return merge(document, wrapper, inner, inner.ads) if inner.has_ad else None
        except UpstreamFailed as failure:
            self._fail(here, failure.kind, failure.detail)
        except NoAd:
            self._fail(here, FailureKind.NO_AD)
        except UnusableVast as error:
            self._fail(here, FailureKind.MALFORMED, str(error))
        return None

    async def _ask(self, wrapper: Ad, here: _Trail) -> Parsed:
        """The document that a Wrapper points to; raises UpstreamFailed and UnusableVast."""
        remaining_s = self.deadline - asyncio.get_running_loop().time()
        if remaining_s <= 0:
            raise UpstreamFailed(self.upstream.id, FailureKind.DEADLINE)
        if len(here.urls) > WRAPPERS_MAX or here.is_loop or self.requests >= REQUESTS_MAX:
            raise UpstreamFailed(self.upstream.id, FailureKind.WRAPPER_LIMIT)
        self.requests += 1
        limits = Limits(remaining_s, self.upstream.max_body_bytes, self.upstream.max_redirects)
        url = self.values.stranger_url(wrapper.tag_uri or "", int(1000 * remaining_s))
        return parse(await self.client.stranger(self.upstream.id, url, self.values.headers(), limits))

    def _admitted(self, wrapper: Ad, answer: Parsed) -> list[Ad]:
        ads = admitted(wrapper, answer)
        if not ads:
            self._tell(answer.error_urls, WrapperError.NO_AD)
            raise UpstreamFailed(self.upstream.id, FailureKind.NO_AD)
        return ads

    def _fail(self, trail: _Trail, kind: str, detail: str = "") -> None:
        """A chain that failed: all who stand in it hear of it with the same code (VAST 4.2 section 2.3.6.3)."""
        self.failures.append((kind, f"what Wrapper {len(trail.urls)} led to: {detail}" if detail else ""))
        self._tell(trail.error_urls, CODES.get(kind, WrapperError.GENERAL))

    def _tell(self, error_urls: Sequence[str], code: WrapperError) -> None:
        self.error_calls.report(error_urls, code, self.values)
