"""Own creatives as InLine ads, for each VAST version with what its schema requires and nothing it does not know."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from app.domain import Campaign, Creative, Event, MediaFile, VastVersion
from app.vast.beacons import click_url, event_url
from app.vast.markup import cdata, element, text
from app.vast.schema import SCHEMAS, Schema
from app.vast.template import Template, gap
from app.version import VERSION

AD_SYSTEM = "adserver"
XML_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'


def own_ad(creative: Creative, campaign: Campaign, version: VastVersion, base_url: str) -> Template:
    """The Ad of a creative for a pod; from VAST 3.0 on it has a gap `sequence`."""
    schema = SCHEMAS[version]
    sequence = gap("sequence") if schema.has_ad_sequence else None
    return Template.compile(_ad(creative, campaign, schema, base_url, sequence).encode())


def own_document(creative: Creative, campaign: Campaign, version: VastVersion, base_url: str) -> Template:
    """A whole document with a creative's Ad."""
    return Template.compile(document(version, [_ad(creative, campaign, SCHEMAS[version], base_url, None).encode()]))


def document(version: VastVersion, ads: Sequence[bytes]) -> bytes:
    """Ads under the root element of their version; without any, the answer that says "no ad"."""
    head, tail = _root(version)
    return b"".join((head, *ads, tail))


@lru_cache
def empty(version: VastVersion) -> bytes:
    """No ad (VAST 4.2 section 2.3.6.4)."""
    return document(version, [])


@lru_cache
def _root(version: VastVersion) -> tuple[bytes, bytes]:
    root = element("VAST", "\n", version=version, xmlns=SCHEMAS[version].namespace)
    head, tail = (XML_DECLARATION + root).encode().split(b"\n</")
    return head, b"</" + tail


def _ad(creative: Creative, campaign: Campaign, schema: Schema, base_url: str, sequence: str | None) -> str:
    children = {
        "AdSystem": element("AdSystem", text(AD_SYSTEM), version=VERSION),
        "Error": element("Error", cdata(event_url(base_url, Event.ERROR))),
        "Impression": element("Impression", cdata(event_url(base_url, Event.IMPRESSION))),
        "AdServingId": element("AdServingId", gap("ad_serving_id")),
        "AdTitle": element("AdTitle", text(creative.title)),
        "Advertiser": element("Advertiser", text(campaign.advertiser)),
        "Creatives": element("Creatives", _creative(creative, schema, base_url)),
    }
    if creative.description is not None:
        children["Description"] = element("Description", text(creative.description))
    inline = element("InLine", _in_order(schema.orders["InLine"], children))
    # The id is the serve's: some players show an Ad only once whose id they have seen.
    return element("Ad", inline, id=gap("ad_serving_id"), sequence=sequence)


def _in_order(sequence: Sequence[str], children: Mapping[str, str]) -> str:
    """The children that this version knows, in its order."""
    return "".join(children[name] for name in sequence if name in children)


def _creative(creative: Creative, schema: Schema, base_url: str) -> str:
    # Stitchers tell creatives apart by these ids, so one that is in no registry goes by its own.
    ad_id = creative.universal_ad_id or creative.id
    if not schema.has_universal_ad_id:
        return element("Creative", _linear(creative, schema, base_url), id=creative.id, AdID=ad_id)
    universal = element(
        "UniversalAdId",
        text(ad_id),
        idRegistry=creative.universal_ad_id_registry,
        idValue=ad_id if schema.version is VastVersion.V4_0 else None,
    )
    return element("Creative", _linear(creative, schema, base_url), universal, id=creative.id, adId=ad_id)


def _linear(creative: Creative, schema: Schema, base_url: str) -> str:
    children = {
        "TrackingEvents": element(
            "TrackingEvents",
            *(element("Tracking", cdata(event_url(base_url, event)), event=event) for event in schema.linear_events),
        ),
        "Duration": element("Duration", _clock(creative.duration_s)),
        "MediaFiles": _media_files(creative, schema),
    }
    if creative.click_through is not None:
        children["VideoClicks"] = element("VideoClicks", element("ClickThrough", cdata(click_url(base_url))))
    can_skip = creative.skip_offset_s is not None and schema.version is not VastVersion.V2_0
    skip_offset = _clock(creative.skip_offset_s or 0) if can_skip else None
    return element("Linear", _in_order(schema.orders["Linear"], children), skipoffset=skip_offset)


def _media_files(creative: Creative, schema: Schema) -> str:
    files = [_media_file(media_file, schema) for media_file in creative.media_files]
    if creative.mezzanine_url is not None and schema.namespace is not None:
        files.append(_mezzanine(creative.mezzanine_url, creative.media_files, schema))
    return element("MediaFiles", *files)


def _media_file(media_file: MediaFile, schema: Schema) -> str:
    return element(
        "MediaFile",
        cdata(media_file.url),
        delivery=media_file.delivery,
        type=media_file.type,
        width=media_file.width,
        height=media_file.height,
        bitrate=media_file.bitrate_kbps,
        codec=media_file.codec if schema.version is not VastVersion.V2_0 else None,
    )


def _mezzanine(url: str, media_files: Sequence[MediaFile], schema: Schema) -> str:
    """The raw file; what the schema asks about it from 4.1 on is that of the best rendition made of it."""
    if schema.version is VastVersion.V4_0:
        return element("Mezzanine", cdata(url))
    best = max(media_files, key=lambda media_file: media_file.width * media_file.height)
    return element(
        "Mezzanine", cdata(url), delivery="progressive", type=best.type, width=best.width, height=best.height
    )


def _clock(seconds: int) -> str:
    """HH:MM:SS."""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
