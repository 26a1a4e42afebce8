"""Own creatives as InLine ads: for each VAST version, the elements that its schema requires and allows."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from app.domain import Creative, Event, MediaFile, VastVersion, is_audio
from app.vast.durations import format_duration
from app.vast.response_template import ResponseTemplate, placeholder
from app.vast.schema import SCHEMAS, Schema
from app.vast.tracking_urls import click_url, event_url
from app.vast.xml_writer import cdata, escaped_text, xml_element
from app.version import VERSION

AD_SYSTEM = "adserver"
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
    children = {
        "AdSystem": xml_element("AdSystem", escaped_text(AD_SYSTEM), version=VERSION),
        "Error": xml_element("Error", cdata(event_url(base_url, Event.ERROR))),
        "Impression": xml_element("Impression", cdata(event_url(base_url, Event.IMPRESSION))),
        "AdServingId": xml_element("AdServingId", placeholder("ad_serving_id")),
        "AdTitle": xml_element("AdTitle", escaped_text(creative.title)),
        "Advertiser": xml_element("Advertiser", escaped_text(advertiser)),
        "Creatives": xml_element("Creatives", _creative(creative, schema, base_url)),
    }
    if creative.description is not None:
        children["Description"] = xml_element("Description", escaped_text(creative.description))
    inline = xml_element("InLine", _in_order(schema.child_orders["InLine"], children))
    # The id is unique per serve, because some players skip an Ad whose id they have shown before.
    return xml_element(
        "Ad", inline, id=placeholder("ad_serving_id"), sequence=sequence, adType=_ad_type(creative, schema)
    )


def _ad_type(creative: Creative, schema: Schema) -> str | None:
    """Return the adType (VAST 4.2 section 3.3), which is `video` by default."""
    kinds = {is_audio(media_file.type) for media_file in creative.media_files}
    if not schema.has_ad_type or True not in kinds:
        return None
    return "audio" if kinds == {True} else "hybrid"


def _in_order(order: Sequence[str], children: Mapping[str, str]) -> str:
    """Join the children that this version allows, in its order."""
    return "".join(children[name] for name in order if name in children)


def _creative(creative: Creative, schema: Schema, base_url: str) -> str:
    # Ad stitchers identify creatives by these ids, so an unregistered creative gets its own id.
    ad_id = creative.universal_ad_id or creative.id
    if not schema.has_universal_ad_id:
        return xml_element("Creative", _linear(creative, schema, base_url), id=creative.id, AdID=ad_id)
    universal = xml_element(
        "UniversalAdId",
        escaped_text(ad_id),
        idRegistry=creative.universal_ad_id_registry,
        idValue=ad_id if schema.version is VastVersion.V4_0 else None,
    )
    return xml_element("Creative", _linear(creative, schema, base_url), universal, id=creative.id, adId=ad_id)


def _linear(creative: Creative, schema: Schema, base_url: str) -> str:
    children = {
        "TrackingEvents": xml_element(
            "TrackingEvents",
            *(
                xml_element("Tracking", cdata(event_url(base_url, event)), event=event)
                for event in schema.linear_events
            ),
        ),
        "Duration": xml_element("Duration", format_duration(creative.duration_s)),
        "MediaFiles": _media_files(creative, schema),
    }
    if creative.click_through is not None:
        children["VideoClicks"] = xml_element("VideoClicks", xml_element("ClickThrough", cdata(click_url(base_url))))
    can_skip = creative.skip_offset_s is not None and schema.version is not VastVersion.V2_0
    skip_offset = format_duration(creative.skip_offset_s or 0) if can_skip else None
    return xml_element("Linear", _in_order(schema.child_orders["Linear"], children), skipoffset=skip_offset)


def _media_files(creative: Creative, schema: Schema) -> str:
    files = [_media_file(media_file, schema) for media_file in creative.media_files]
    if creative.mezzanine_url is not None and schema.namespace is not None:
        files.append(_mezzanine(creative.mezzanine_url, creative.media_files, schema))
    return xml_element("MediaFiles", *files)


def _media_file(media_file: MediaFile, schema: Schema) -> str:
    return xml_element(
        "MediaFile",
        cdata(media_file.url),
        delivery=media_file.delivery,
        type=media_file.type,
        width=media_file.width or 0,
        height=media_file.height or 0,
        bitrate=media_file.bitrate_kbps,
        codec=media_file.codec if schema.version is not VastVersion.V2_0 else None,
    )


def _mezzanine(url: str, media_files: Sequence[MediaFile], schema: Schema) -> str:
    """Return the Mezzanine; since 4.1 it needs attributes, which are those of the best rendition."""
    if schema.version is VastVersion.V4_0:
        return xml_element("Mezzanine", cdata(url))
    best = max(media_files, key=lambda media_file: (media_file.width or 0) * (media_file.height or 0))
    return xml_element(
        "Mezzanine", cdata(url), delivery="progressive", type=best.type, width=best.width or 0, height=best.height or 0
    )
