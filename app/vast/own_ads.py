"""Documents of own creatives: for each VAST version, the elements that its schema requires and allows.

A creative with media files is an InLine, one with the tag of another server a Wrapper.
"""

from collections.abc import Sequence
from functools import lru_cache

from app.domain import Creative, UniversalAdId, VastVersion, is_audio
from app.vast.ad_system import AD_SYSTEM_ELEMENT
from app.vast.durations import format_duration
from app.vast.own_displays import companion_ads, icons
from app.vast.own_measurement import measurement_elements, tracking_events, video_clicks
from app.vast.own_media_files import media_files
from app.vast.own_wrappers import own_wrapper
from app.vast.response_template import ResponseTemplate, placeholder
from app.vast.schema import SCHEMAS, Schema
from app.vast.xml_writer import cdata, escaped_text, in_order, xml_element

XML_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'


def own_ad(creative: Creative, advertiser: str, version: VastVersion, base_url: str) -> ResponseTemplate:
    """Return the Ad of a creative for a pod; since VAST 3.0 it has a placeholder `sequence`."""
    schema = SCHEMAS[version]
    sequence = placeholder("sequence") if schema.has_ad_sequence else None
    return ResponseTemplate.compile(_ad(creative, advertiser, schema, base_url, sequence).encode())


def own_document(creative: Creative, advertiser: str, version: VastVersion, base_url: str) -> ResponseTemplate:
    """Return a document with the Ad of a creative."""
    return ResponseTemplate.compile(
        vast_document(version, [_ad(creative, advertiser, SCHEMAS[version], base_url, None).encode()])
    )


def vast_document(version: VastVersion, ads: Sequence[bytes]) -> bytes:
    """Return a document with these Ads in the root element of their version; without Ads, it means "no ad"."""
    head, tail = _root(version)
    return b"".join((head, *ads, tail))


@lru_cache
def empty_document(version: VastVersion) -> bytes:
    """Return the document without an ad (VAST 4.2 section 2.3.6.4)."""
    return vast_document(version, [])


@lru_cache
def _root(version: VastVersion) -> tuple[bytes, bytes]:
    root = xml_element("VAST", "\n", version=version, xmlns=SCHEMAS[version].namespace)
    head, tail = (XML_DECLARATION + root).encode().split(b"\n</")
    return head, b"</" + tail


def _ad(creative: Creative, advertiser: str, schema: Schema, base_url: str, sequence: str | None) -> str:
    if creative.vast_tag_url is None:
        content = _inline(creative, advertiser, schema, base_url)
    else:
        content = own_wrapper(creative, creative.vast_tag_url, schema, base_url)
    # The id is unique per serve, because some players skip an Ad whose id they have shown before.
    return xml_element(
        "Ad", content, id=placeholder("ad_serving_id"), sequence=sequence, adType=_ad_type(creative, schema)
    )


def _inline(creative: Creative, advertiser: str, schema: Schema, base_url: str) -> str:
    children = measurement_elements(creative, schema, base_url) | {
        "AdSystem": AD_SYSTEM_ELEMENT,
        "AdServingId": xml_element("AdServingId", placeholder("ad_serving_id")),
        "AdTitle": xml_element("AdTitle", escaped_text(creative.title)),
        "Advertiser": xml_element("Advertiser", escaped_text(advertiser)),
        "Category": "".join(
            xml_element("Category", escaped_text(category.code), authority=category.authority)
            for category in creative.elements.categories
        ),
        "Creatives": xml_element("Creatives", _creatives(creative, schema, base_url)),
    }
    if creative.description is not None:
        children["Description"] = xml_element("Description", escaped_text(creative.description))
    return xml_element("InLine", in_order(schema.child_orders["InLine"], children))


def _ad_type(creative: Creative, schema: Schema) -> str | None:
    """Return the adType (VAST 4.2 section 3.3), which is `video` by default."""
    kinds = {is_audio(media_file.type) for media_file in creative.media_files}
    if not schema.has_ad_type or True not in kinds:
        return None
    return "audio" if kinds == {True} else "hybrid"


def _creatives(creative: Creative, schema: Schema, base_url: str) -> str:
    """Return the Creative of the film, and one of the companions.

    VAST 2.0 and 3.0 require that they are apart. Later too, some players take the first TrackingEvents for the film's.
    """
    ids = _universal_ad_ids(creative)
    universal = ""
    if schema.has_universal_ad_id:
        universal = "".join(_universal_ad_id(each, schema) for each in ids[: schema.universal_ad_ids_max])
    names = {"adId" if schema.has_universal_ad_id else "AdID": ids[0].id}
    film = xml_element("Creative", _linear(creative, schema, base_url), universal, id=creative.id, **names)
    companions = companion_ads(creative, schema)
    return film + xml_element("Creative", companions, universal, **names) if companions else film


def _universal_ad_ids(creative: Creative) -> Sequence[UniversalAdId]:
    """Return the ids, the main one first.

    Ad stitchers identify creatives by them, so an unregistered creative gets its own id.
    """
    ids = creative.elements.universal_ad_ids
    if creative.universal_ad_id is None and ids:
        return ids
    return UniversalAdId(creative.universal_ad_id or creative.id, creative.universal_ad_id_registry), *ids


def _universal_ad_id(ad_id: UniversalAdId, schema: Schema) -> str:
    return xml_element(
        "UniversalAdId",
        escaped_text(ad_id.id),
        idRegistry=ad_id.registry,
        idValue=ad_id.id if schema.version is VastVersion.V4_0 else None,
    )


def _linear(creative: Creative, schema: Schema, base_url: str) -> str:
    children = {
        "TrackingEvents": tracking_events(creative, schema, base_url),
        "Duration": xml_element("Duration", format_duration(creative.duration_s)),
        "MediaFiles": media_files(creative, schema),
        "Icons": icons(creative, schema),
        "VideoClicks": video_clicks(creative, schema, base_url),
    }
    if creative.elements.ad_parameters is not None:
        children["AdParameters"] = xml_element("AdParameters", cdata(creative.elements.ad_parameters))
    can_skip = creative.skip_offset_s is not None and schema.version is not VastVersion.V2_0
    skip_offset = format_duration(creative.skip_offset_s or 0) if can_skip else None
    return xml_element("Linear", in_order(schema.child_orders["Linear"], children), skipoffset=skip_offset)
