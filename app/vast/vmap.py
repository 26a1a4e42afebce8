"""VMAP 1.0.1 documents: the ad breaks of a video and the sources of their ads."""

import re
from collections.abc import Sequence

from app.domain import AdBreak, VastVersion
from app.vast.own_ads import XML_DECLARATION
from app.vast.xml_writer import cdata, xml_element

NAMESPACE = "http://www.iab.net/videosuite/vmap"

_TIME_OFFSET = re.compile(
    r"start|end|\d{2}:[0-5]\d:[0-5]\d(\.\d{3})?|(100|[1-9]?\d)%|#[1-9]\d{0,5}",
    re.ASCII,
)
_REPEAT_INTERVAL = re.compile(r"\d{2}:[0-5]\d:[0-5]\d(\.\d{3})?", re.ASCII)
_DECLARATION = re.compile(rb"\s*<\?xml\s[^>]*\?>\s*")


def is_valid_time_offset(text: str) -> bool:
    """Whether the text is a `timeOffset`: start, end, hh:mm:ss[.mmm], n% or #m (VMAP 1.0.1 section 2.3.1)."""
    return _TIME_OFFSET.fullmatch(text) is not None


def is_valid_repeat_interval(text: str) -> bool:
    """Whether the text is a `repeatAfter`: hh:mm:ss[.mmm], more than 0 (VMAP 1.0.1 section 2.3.1)."""
    return _REPEAT_INTERVAL.fullmatch(text) is not None and any(digit in text for digit in "123456789")


def render_vmap(breaks: Sequence[tuple[AdBreak, str | bytes]], version: VastVersion) -> bytes:
    """Return the breaks in order, each with its tag URL (str) or its VAST document in UTF-8 (bytes)."""
    elements = (_break(ad_break, source, version) for ad_break, source in breaks)
    root = xml_element("vmap:VMAP", *elements, **{"xmlns:vmap": NAMESPACE, "version": "1.0"})
    return (XML_DECLARATION + root).encode()


def _break(ad_break: AdBreak, source: str | bytes, version: VastVersion) -> str:
    if isinstance(source, str):
        ads = xml_element("vmap:AdTagURI", cdata(source), templateType=f"vast{version[0]}")
    else:
        ads = xml_element("vmap:VASTAdData", _DECLARATION.sub(b"", source, count=1).decode())
    ad_source = xml_element(
        "vmap:AdSource",
        ads,
        id=ad_break.id,
        allowMultipleAds="true" if ad_break.pod_size > 1 else "false",
        followRedirects="true",
    )
    attributes = {"timeOffset": ad_break.time_offset, "breakType": ad_break.break_type, "breakId": ad_break.id}
    if ad_break.repeat_every is not None:
        attributes["repeatAfter"] = ad_break.repeat_every
    return xml_element("vmap:AdBreak", ad_source, **attributes)
