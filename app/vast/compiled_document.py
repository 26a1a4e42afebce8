"""Upstream bodies as serving hands them out, Ad by Ad: each alone in its document, or as a part of a pod."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from app.domain import VastVersion
from app.errors import NoAd
from app.vast.parse import Ad, Parsed, parse
from app.vast.schema import V1_0
from app.vast.template import Template
from app.vast.trackers import ad_fragments, only_ad, with_trackers
from app.vast.tree import serialized

KEPT_BYTES_MAX = 32 * 2**20
KEPT_BODY_BYTES_MAX = 32_768
"""Many upstreams send the same document again and again: small ones stay compiled, within so many bytes."""

DOCUMENT_BYTES = 1000
AD_BYTES = 600
"""What a document and each of its Ads take beside the body and the templates."""

ALONE_FACTOR = 4
ALONE_BYTES = 65_536
"""Ads compiled alone are kept up to so many times the body and so many bytes: each holds what is outside of Ads too."""


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
        if position in self._alone:
            return self._alone[position]
        template = with_trackers(parse(self._body), self._base_url, position)
        kept = sum(other.size_bytes for other in self._alone.values())
        if kept + template.size_bytes <= ALONE_FACTOR * len(self._body) + ALONE_BYTES:
            self._alone[position] = template
        return template

    def in_pod(self, position: int, version: VastVersion) -> Template:
        """That Ad for a pod of that version, not earlier than its own; raises UnusableVast unless it `fits_pods`."""
        if self._in_pod is None or self._in_pod[0] is not version:
            self._in_pod = (version, ad_fragments(parse(self._body), self._base_url, version))
        return self._in_pod[1][position]

    @property
    def size_bytes(self) -> int:
        """The memory that it takes now; it grows when more of its Ads are asked for."""
        in_pod = self._in_pod[1] if self._in_pod else ()
        templates = sum(template.size_bytes for template in (*self._alone.values(), *in_pod))
        return DOCUMENT_BYTES + len(self._body) + AD_BYTES * len(self.ads) + templates

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
        self._kept: OrderedDict[bytes, tuple[CompiledDocument, int]] = OrderedDict()
        self.kept_bytes = 0

    def compile(self, body: bytes) -> CompiledDocument:
        """The document of a body; raises UnusableVast, and its subclass NoAd for one without an Ad."""
        if len(body) > KEPT_BODY_BYTES_MAX:
            return self._compile(body)
        kept = self._kept.pop(body, None)
        if kept is None:
            document = self._compile(body)
        else:
            document, size_bytes = kept
            self.kept_bytes -= size_bytes
        self._keep(body, document)
        return document

    def _keep(self, body: bytes, document: CompiledDocument) -> None:
        """Keeps it as the last one used, at its present size, and drops those used least recently."""
        size_bytes = document.size_bytes
        self._kept[body] = (document, size_bytes)
        self.kept_bytes += size_bytes
        while self.kept_bytes > KEPT_BYTES_MAX:
            _, (_, oldest_bytes) = self._kept.popitem(last=False)
            self.kept_bytes -= oldest_bytes

    def _compile(self, body: bytes) -> CompiledDocument:
        parsed = parse(body)
        if not parsed.has_ad:
            reason = "no Ad with anything to show in the document"
            raise NoAd(reason, parsed.error_urls, has_ads=bool(parsed.ads))
        return CompiledDocument(body, parsed, self._base_url)
