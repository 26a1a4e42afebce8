"""The MediaFiles of own creatives: renditions, captions, the original and the interactive file."""

from collections.abc import Sequence

from app.domain import ClosedCaption, Creative, InteractiveCreative, MediaFile, VastVersion
from app.vast.schema import Schema
from app.vast.xml_writer import cdata, xml_element

SIMID = "SIMID"
"""The API of interactive creatives (Secure Interactive Media Interface Definition)."""


def media_files(creative: Creative, schema: Schema) -> str:
    """Return the MediaFiles, whose children have the order of VAST 4.2 (section 3.9)."""
    content = [_media_file(media_file, schema) for media_file in creative.media_files]
    if creative.elements.closed_captions and schema.version >= VastVersion.V4_1:
        content.insert(0, _captions(creative.elements.closed_captions))
    if creative.mezzanine_url is not None and schema.version >= VastVersion.V4_0:
        content.append(_mezzanine(creative.mezzanine_url, creative.media_files, schema))
    if creative.elements.interactive is not None and schema.version >= VastVersion.V4_0:
        content.append(_interactive(creative.elements.interactive, schema))
    return xml_element("MediaFiles", *content)


def _captions(captions: Sequence[ClosedCaption]) -> str:
    files = (
        xml_element("ClosedCaptionFile", cdata(caption.url), type=caption.type, language=caption.language)
        for caption in captions
    )
    return xml_element("ClosedCaptionFiles", *files)


def _interactive(interactive: InteractiveCreative, schema: Schema) -> str:
    variable = str(interactive.variable_duration).lower() if schema.version >= VastVersion.V4_1 else None
    return xml_element(
        "InteractiveCreativeFile",
        cdata(interactive.url),
        type=interactive.type,
        apiFramework=SIMID,
        variableDuration=variable,
    )


def _media_file(media_file: MediaFile, schema: Schema) -> str:
    # The schemas require a size, also of audio.
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


def _mezzanine(url: str, renditions: Sequence[MediaFile], schema: Schema) -> str:
    """Return the Mezzanine; since 4.1 it needs attributes, which are those of the best rendition."""
    if schema.version is VastVersion.V4_0:
        return xml_element("Mezzanine", cdata(url))
    best = max(renditions, key=lambda media_file: (media_file.width or 0) * (media_file.height or 0))
    return xml_element(
        "Mezzanine",
        cdata(url),
        delivery="progressive",
        type=best.type,
        width=best.width or 0,
        height=best.height or 0,
    )
