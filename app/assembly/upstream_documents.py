"""Upstream bodies as serving hands them out: compiled once, whole for a single ad, in Ads for a pod."""

from collections.abc import Sequence
from functools import lru_cache

from app.domain import VastVersion
from app.errors import NoAd
from app.vast.parse import Parsed, parse
from app.vast.schema import V1_0
from app.vast.template import Template
from app.vast.trackers import ad_fragments, with_trackers

KEPT_MAX = 512
KEPT_BODY_BYTES_MAX = 32_768
"""Many upstreams send the same document again and again: so many of the small ones are kept compiled."""


class CompiledDocument:
    """An upstream's document with our trackers, and what a pod and the unwrapping need to know of it.

    Its tree is not kept, because it takes many times the memory of the body: the Ads for a pod are parsed anew when a
    pod first asks for them.
    """

    def __init__(self, body: bytes, parsed: Parsed, base_url: str) -> None:
        self._body = body
        self._base_url = base_url
        self._fragments: tuple[VastVersion, Sequence[Template]] | None = None
        self.version = parsed.version
        self.whole = with_trackers(parsed, base_url)
        self.has_wrapper = any(ad.is_wrapper for ad in parsed.ads)
        self.fits_pods = parsed.schema is not V1_0
        """Whether its Ads can stand beside others: those of VAST 1 have no equivalent in a later version."""
        self.advertisers = frozenset(ad.advertiser for ad in parsed.ads if ad.advertiser)
        inlines = [ad for ad in parsed.ads if not ad.is_wrapper]
        self.creative_ids = frozenset(creative_id for ad in inlines for creative_id in ad.creative_ids)
        self.duration_s = _duration_s(parsed)
        """Of all its linear creatives together, in seconds; None for a Wrapper, which does not know."""

    def ads(self, version: VastVersion) -> Sequence[Template]:
        """Its Ads, for a pod of that version, not earlier than its own; raises UnusableVast unless it `fits_pods`."""
        if self._fragments is None or self._fragments[0] is not version:
            self._fragments = (version, ad_fragments(parse(self._body), self._base_url, version))
        return self._fragments[1]


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
            raise NoAd("no Ad in the document", parsed.error_urls)
        return CompiledDocument(body, parsed, self._base_url)


def _duration_s(parsed: Parsed) -> float | None:
    durations = [duration for ad in parsed.ads for duration in ad.durations_s]
    return None if any(ad.is_wrapper for ad in parsed.ads) or not durations else sum(durations)
