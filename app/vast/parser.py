"""A safe parser of upstream VAST, and the facts about a document that other modules need."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import starmap

from lxml import etree

from app.domain import VastVersion
from app.errors import NoAd, UnusableVast
from app.vast import limits
from app.vast.durations import parse_duration_s
from app.vast.element_tree import Element, child_uris, children, descendants, local_name, text_content
from app.vast.normalization import normalize
from app.vast.playable import is_playable
from app.vast.schema import V1_0, Schema, schema_of
from app.vast.xml_prolog import clean_prolog, has_no_element

BODY_BYTES_MAX = 2 * 2**20
ADS_MAX = 50
EMPTY_ADS_MAX = 500
CREATIVES_MAX = 200
"""Elements of each kind that gets trackers, over all Ads, so that a small body does not lead to a huge response."""

_LIMITED = (
    ("Creatives",),
    ("Creatives", "Creative"),
    ("Creatives", "Creative", "Linear"),
    ("Creatives", "Creative", "Linear", "MediaFiles"),
    ("Creatives", "Creative", "NonLinearAds"),
    ("Creatives", "Creative", "NonLinearAds", "NonLinear"),
)
"""Paths below an InLine or Wrapper to the elements that get trackers or are searched for playable content."""


@dataclass(frozen=True, slots=True)
class Ad:
    """The facts about one InLine or Wrapper. URIs have no surrounding white space."""

    id: str | None
    sequence: int | None
    is_wrapper: bool
    is_playable: bool
    """Whether it has anything that a player can show, or, for a Wrapper, a URI."""
    error_urls: tuple[str, ...]
    advertiser: str | None
    creative_ids: tuple[str, ...]
    """Universal ad ids, or else the ids of the creatives; they distinguish the ads of a pod."""
    duration_s: Decimal | None
    """The total duration of its linear creatives in seconds; None if one is unknown or it has no linear creatives."""
    tag_uri: str | None
    """The VASTAdTagURI of a Wrapper (VASTAdTagURL in VAST 1); the flags default as in VAST 4.2 section 3.19."""
    follow_additional_wrappers: bool
    allow_multiple_ads: bool
    fallback_on_no_ad: bool
    element: Element
    """The InLine or Wrapper."""


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A VAST document. Its tree is shared: copy it before changing it."""

    schema: Schema
    tree: etree._ElementTree
    ads: tuple[Ad, ...]
    error_urls: tuple[str, ...]
    """The Error URLs of the root, which are requested if there is no ad."""

    @property
    def version(self) -> VastVersion:
        """The version of its schema."""
        return self.schema.version

    @property
    def has_ad(self) -> bool:
        """Whether any Ad is playable; False for a "no ad" response."""
        return bool(self.playable_ads)

    @property
    def playable_ads(self) -> list[Ad]:
        """The Ads with anything to show."""
        return [ad for ad in self.ads if ad.is_playable]


def parse(body: bytes) -> ParsedDocument:
    """Parse a document; raise UnusableVast if it is not well-formed VAST, or not safe to parse.

    Raises NoAd for a document without any element.
    """
    if len(body) > BODY_BYTES_MAX:
        raise UnusableVast(f"has more than {BODY_BYTES_MAX} bytes")
    body = clean_prolog(body)
    limits.check_limits(body)
    try:
        root = etree.fromstring(body, _parser())
    except (etree.XMLSyntaxError, ValueError) as error:
        if has_no_element(body):
            raise NoAd("only white space and comments") from error
        raise UnusableVast(_syntax_error(error)) from error
    tree = root.getroottree()
    if tree.docinfo.internalDTD is not None:
        raise UnusableVast("has a DOCTYPE")
    return inspect_tree(normalize(root, body).getroottree())


def _syntax_error(error: Exception) -> str:
    """Describe the error by libxml2's name for it: its messages may quote the document, and so a viewer's id."""
    if not isinstance(error, etree.XMLSyntaxError):
        return "not well-formed"
    line, column = error.position
    entry = error.error_log.last_error  # type: ignore[attr-defined]
    name = entry.type_name.removeprefix("ERR_").replace("_", " ").lower() if entry else "syntax"
    name = name.replace("document empty", "start tag expected")
    return f"not well-formed: {name} at line {line}, column {column}"


def inspect_tree(tree: etree._ElementTree) -> ParsedDocument:
    """Return the document of an element tree; raise UnusableVast if it is not VAST."""
    root = tree.getroot()
    match local_name(root):
        case "VAST":
            schema = schema_of(root.get("version", "").strip(), namespaced=root.tag[0] == "{")
        case "VideoAdServingTemplate":
            schema = V1_0
        case _:
            raise UnusableVast("root element is not VAST")
    return ParsedDocument(schema, tree, _ads(root), child_uris(root, "Error"))


def _parser() -> etree.XMLParser:
    """Return a new parser, because parsers cannot be shared by threads. The depth is limited to 256."""
    return etree.XMLParser(
        resolve_entities=False,
        load_dtd=False,
        dtd_validation=False,
        no_network=True,
        huge_tree=False,
        recover=False,
        strip_cdata=False,
    )


def _ads(root: Element) -> tuple[Ad, ...]:
    if len(children(root, "Ad")) > EMPTY_ADS_MAX:
        raise UnusableVast(f"more than {EMPTY_ADS_MAX} ads")
    found = ad_contents(root)
    if len(found) > ADS_MAX:
        raise UnusableVast(f"more than {ADS_MAX} ads")
    for names in _LIMITED:
        if sum(1 for _, content in found for _ in descendants(content, *names)) > CREATIVES_MAX:
            raise UnusableVast(f"more than {CREATIVES_MAX} {names[-1]} elements")
    return tuple(starmap(_ad, found))


def ad_contents(root: Element) -> list[tuple[Element, Element]]:
    """Return each Ad with its InLine or Wrapper, without the Ads that have neither."""
    ads = children(root, "Ad")
    return [(ad, content) for ad in ads for content in (*children(ad, "InLine"), *children(ad, "Wrapper"))[:1]]


def _ad(ad: Element, element: Element) -> Ad:
    sequence = ad.get("sequence", "").strip()
    return Ad(
        id=ad.get("id"),
        sequence=int(sequence) if re.fullmatch(r"\d{1,9}", sequence, re.ASCII) else None,
        is_wrapper=local_name(element) == "Wrapper",
        is_playable=is_playable(element),
        error_urls=child_uris(element, "Error"),
        advertiser=next((text_content(child) for child in children(element, "Advertiser")), None),
        creative_ids=tuple(dict.fromkeys(_creative_ids(element))),
        duration_s=_duration_s(element),
        tag_uri=next(iter((*child_uris(element, "VASTAdTagURI"), *child_uris(element, "VASTAdTagURL"))), None),
        follow_additional_wrappers=_flag(element, "followAdditionalWrappers", default=True),
        allow_multiple_ads=_flag(element, "allowMultipleAds", default=False),
        fallback_on_no_ad=_flag(element, "fallbackOnNoAd", default=False),
        element=element,
    )


def _creative_ids(element: Element) -> Iterator[str]:
    for creative in descendants(element, "Creatives", "Creative"):
        universal = [universal_ad_id(child) for child in children(creative, "UniversalAdId")]
        ids = [*universal, *(creative.get(name, "").strip() for name in ("adId", "AdID", "id"))]
        yield from [found for found in ids if found and found.lower() != "unknown"][:1]


def universal_ad_id(element: Element) -> str:
    """Return the id of a UniversalAdId; in VAST 4.0 it may be in the `idValue` attribute alone."""
    return text_content(element) or element.get("idValue", "").strip()


def _duration_s(element: Element) -> Decimal | None:
    linears = list(descendants(element, "Creatives", "Creative", "Linear")) or children(element, "Video")
    durations = [_length_s(linear) for linear in linears]
    known = [duration for duration in durations if duration is not None]
    return sum(known, Decimal(0)) if known and len(known) == len(durations) else None


def _length_s(linear: Element) -> Decimal | None:
    return next((parse_duration_s(text_content(duration)) for duration in children(linear, "Duration")), None)


def _flag(element: Element, name: str, *, default: bool) -> bool:
    value = element.get(name, "").strip().lower()
    return value in ("true", "1") if value in ("true", "1", "false", "0") else default
