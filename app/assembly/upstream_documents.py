"""Upstream bodies as serving hands them out, Ad by Ad: each alone in its document, or as a part of a pod."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from app.domain import VastVersion
from app.errors import NoAd
from app.vast.parse import Ad, Parsed, parse
from app.vast.schema import V1_0
from app.vast.template import Template
from app.vast.trackers import ad_fragments, only_ad, with_trackers
from app.vast.tree import serialized

KEPT_MAX = 512
KEPT_BODY_BYTES_MAX = 32_768
"""Many upstreams send the same document again and again: so many of the small ones are kept compiled."""


@dataclass(frozen=True, slots=True)
class AdFacts:
    """What choosing among the Ads of a document needs to know of one of them."""

    position: int
    """Among the Ads of the document."""
    sequence: int | None
    """Its place in the document's pod; None for a stand-alone Ad."""
    is_wrapper: bool
    duration_s: float | None
    """Of its linear creatives together, in seconds; None for a Wrapper, and where the document does not say."""
    advertiser: str | None
    creative_ids: frozenset[str]
    """What tells its creatives from others; empty for a Wrapper."""


class CompiledDocument:
    """An upstream's document: the facts of its Ads, and each of them with our trackers.

    Its tree is not kept, because it takes many times the memory of the body. A document with one Ad, which is the
    rule, is compiled at once; of another, an Ad is parsed again and compiled when it is first asked for.
    """

    def __init__(self, body: bytes, parsed: Parsed, base_url: str) -> None:
        self._body = body
        self._base_url = base_url
        self._alone: dict[int, Template] = {}
        self._in_pod: tuple[VastVersion, Sequence[Template]] | None = None
        self.version = parsed.version
        self.fits_pods = parsed.schema is not V1_0
        """Whether its Ads can stand beside others: those of VAST 1 have no equivalent in a later version."""
        self.ads = tuple(_facts(position, ad) for position, ad in enumerate(parsed.ads) if ad.is_playable)
        self.has_wrapper = any(ad.is_wrapper for ad in self.ads)
        if len(self.ads) == 1:
            self._alone[self.ads[0].position] = with_trackers(parsed, base_url, self.ads[0].position)

    def alone(self, position: int) -> Template:
        """The document with that Ad and no other."""
        if position not in self._alone:
            self._alone[position] = with_trackers(parse(self._body), self._base_url, position)
        return self._alone[position]

    def in_pod(self, position: int, version: VastVersion) -> Template:
        """That Ad for a pod of that version, not earlier than its own; raises UnusableVast unless it `fits_pods`."""
        if self._in_pod is None or self._in_pod[0] is not version:
            self._in_pod = (version, ad_fragments(parse(self._body), self._base_url, version))
        return self._in_pod[1][position]

    def body_with(self, position: int) -> bytes:
        """A body of which that Ad is the only one, from which the same answer can be made again."""
        return self._body if len(self.ads) == 1 else serialized(only_ad(parse(self._body), position))


def _facts(position: int, ad: Ad) -> AdFacts:
    return AdFacts(
        position=position,
        sequence=ad.sequence,
        is_wrapper=ad.is_wrapper,
        duration_s=None if ad.is_wrapper else ad.duration_s,
        advertiser=ad.advertiser,
        creative_ids=frozenset() if ad.is_wrapper else frozenset(ad.creative_ids),
    )


class UpstreamDocuments:
    """Compiles bodies with trackers that report to `base_url`."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._kept = lru_cache(KEPT_MAX)(self._compile)

    def compile(self, body: bytes) -> CompiledDocument:
        """The document of a body; raises UnusableVast, and its subclass NoAd for one without an Ad."""
        return self._kept(body) if len(body) <= KEPT_BODY_BYTES_MAX else self._compile(body)

    def _compile(self, body: bytes) -> CompiledDocument:
        parsed = parse(body)
        if not parsed.has_ad:
            reason = "no Ad with anything to show in the document"
            raise NoAd(reason, parsed.error_urls, has_ads=bool(parsed.ads))
        return CompiledDocument(body, parsed, self._base_url)
