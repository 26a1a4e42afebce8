"""An upstream's document, ready to be served Ad by Ad: each in a document of its own, or as a part of a pod."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from app.domain import VastVersion
from app.vast.element_tree import serialize
from app.vast.parser import Ad, ParsedDocument, parse
from app.vast.response_template import ResponseTemplate
from app.vast.schema import V1_0
from app.vast.trackers import document_with_trackers, fragments_with_trackers, single_ad_tree

DOCUMENT_BYTES = 1000
AD_BYTES = 600
"""The memory of a document and of each of its Ads besides the body and the templates."""

SINGLE_ADS_FACTOR = 4
SINGLE_ADS_BYTES = 65_536
"""Templates of single Ads are kept up to this multiple of the body plus these bytes.

Each of them repeats the parts of the document outside of its Ads.
"""


@dataclass(frozen=True, slots=True)
class AdFacts:
    """The facts about one Ad of a document by which serving chooses among them."""

    position: int
    """The Ad's index in the document."""
    sequence: int | None
    """The Ad's number in the document's pod; None for a stand-alone Ad."""
    is_wrapper: bool
    duration_s: Decimal | None
    """The total duration of its linear creatives, in seconds; None for a Wrapper, or if it is unknown."""
    advertiser: str | None
    creative_ids: frozenset[str]
    """The ids that tell its creatives from others; empty for a Wrapper."""


class CompiledDocument:
    """The facts about an upstream's Ads, and templates of each Ad with this server's trackers.

    The element tree is not kept, because it takes many times the memory of the body. A document with one Ad, the usual
    case, is compiled immediately. Of other documents, each Ad is parsed again and compiled when it is first needed.
    """

    def __init__(self, body: bytes, parsed: ParsedDocument, base_url: str) -> None:
        self._body = body
        self._base_url = base_url
        self._single_ads: dict[int, ResponseTemplate] = {}
        self._pod_fragments: tuple[VastVersion, Sequence[ResponseTemplate]] | None = None
        self.version = parsed.version
        self.fits_pods = parsed.schema is not V1_0
        """Whether its Ads can be served in a pod: Ads of VAST 1 have no equivalent in a later version."""
        self.ads = tuple(_facts(position, ad) for position, ad in enumerate(parsed.ads) if ad.is_playable)
        self.has_wrapper = any(ad.is_wrapper for ad in self.ads)
        if len(self.ads) == 1:
            position = self.ads[0].position
            self._single_ads[position] = document_with_trackers(parsed, base_url, position)

    def single_ad_document(self, position: int) -> ResponseTemplate:
        """Return the document with that Ad alone."""
        if position in self._single_ads:
            return self._single_ads[position]
        template = document_with_trackers(parse(self._body), self._base_url, position)
        kept_bytes = sum(other.size_bytes for other in self._single_ads.values())
        if kept_bytes + template.size_bytes <= SINGLE_ADS_FACTOR * len(self._body) + SINGLE_ADS_BYTES:
            self._single_ads[position] = template
        return template

    def pod_fragment(self, position: int, version: VastVersion) -> ResponseTemplate:
        """Return that Ad for a pod of `version`, which must not be earlier than the document's own.

        Raises UnusableVast unless the document `fits_pods`.
        """
        if self._pod_fragments is None or self._pod_fragments[0] is not version:
            self._pod_fragments = (version, fragments_with_trackers(parse(self._body), self._base_url, version))
        return self._pod_fragments[1][position]

    @property
    def size_bytes(self) -> int:
        """Its present memory in bytes; it grows when further Ads are compiled."""
        fragments = self._pod_fragments[1] if self._pod_fragments else ()
        templates = sum(template.size_bytes for template in (*self._single_ads.values(), *fragments))
        return DOCUMENT_BYTES + len(self._body) + AD_BYTES * len(self.ads) + templates

    def single_ad_body(self, position: int) -> bytes:
        """Return a body with that Ad alone, from which the same answer can be rendered again."""
        return self._body if len(self.ads) == 1 else serialize(single_ad_tree(parse(self._body), position))


def _facts(position: int, ad: Ad) -> AdFacts:
    return AdFacts(
        position=position,
        sequence=ad.sequence,
        is_wrapper=ad.is_wrapper,
        duration_s=None if ad.is_wrapper else ad.duration_s,
        advertiser=ad.advertiser,
        creative_ids=frozenset() if ad.is_wrapper else frozenset(ad.creative_ids),
    )
