"""The rules of players, for a creative and for the answers of its URLs' servers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from app.creative_check.client import Answer
from app.creative_check.urls import CheckedUrl, Purpose, tracker_urls
from app.domain import Creative, MediaFile

SMALL_LINES = 480
"""Height of the largest rendition that suits phones and slow connections."""

BITRATE_TOLERANCE = 0.5
"""Part by which the bitrate of the file may differ from the declared one, which often leaves the sound out."""

UNTYPED = ("application/octet-stream", "binary/octet-stream")
"""Types that storage services send for files that were uploaded without one."""

SAME_TYPES = (
    frozenset({"application/x-mpegurl", "application/vnd.apple.mpegurl", "audio/mpegurl", "audio/x-mpegurl"}),
    frozenset({"application/mp4", "video/mp4"}),
)
"""Names of one type."""

H264_CODECS = ("avc1", "avc3", "h264", "h.264")


NEEDED_BY_SCRIPTS: Mapping[Purpose, str] = {
    Purpose.MEDIA: "players need that load it by script",
    Purpose.CAPTIONS: "players in browsers need",
    Purpose.TAG: "players in browsers need",
}
"""The purposes for which pages must be allowed to read the answer, and by whom they are needed."""


class Severity(StrEnum):
    """Error: players cannot show the creative, or a part of it. Warning: some of them cannot."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault of a creative or of one of its URLs."""

    severity: Severity
    text: str


def creative_findings(creative: Creative) -> Iterator[Finding]:
    """Yield what is wrong with the renditions together, and with the trackers."""
    heights = [media_file.height for media_file in creative.media_files if media_file.height is not None]
    if heights and not any(map(_is_h264, creative.media_files)):
        yield _warning("has no MP4 rendition with H.264, which all players can show")
    if heights and min(heights) > SMALL_LINES:
        yield _warning(
            f"has no rendition of at most {SMALL_LINES} lines for phones and slow connections: "
            f"the smallest has {min(heights):,}"
        )
    for key, url in tracker_urls(creative.elements):
        if urlsplit(url).scheme == "http":
            yield _warning(f"{key} is not https: players on https pages may not request it")


def url_findings(checked: CheckedUrl, answer: Answer, duration_s: float) -> Iterator[Finding]:
    """Yield what is wrong with a URL whose server has answered."""
    yield from _status_findings(checked, answer)
    if checked.purpose not in (Purpose.ORIGINAL, Purpose.PAGE):
        yield from _transport_findings(answer)
    if answer.is_found:
        yield from _answer_findings(checked, answer)
    if checked.media_file is not None:
        yield from _bitrate_findings(checked.media_file, answer, duration_s)


def _status_findings(checked: CheckedUrl, answer: Answer) -> Iterator[Finding]:
    if answer.is_found:
        return
    if checked.purpose is Purpose.PAGE and answer.status in (401, 403, 405, 429, 503):
        yield _warning(f"is answered with status {answer.status}, perhaps only to programs")
    else:
        yield _error(f"is answered with status {answer.status}")


def _transport_findings(answer: Answer) -> Iterator[Finding]:
    schemes = [urlsplit(url).scheme for url in answer.urls]
    if schemes[0] == "http":
        yield _warning("is not https: players on https pages do not load it")
    elif "http" in schemes:
        yield _error("redirects from https to http, which players on https pages do not follow")
    if len(schemes) > 1:
        yield _warning(f"is redirected before the ad can play ({len(schemes) - 1} times)")


def _answer_findings(checked: CheckedUrl, answer: Answer) -> Iterator[Finding]:
    if checked.media_type is not None:
        yield from _type_findings(checked.media_type.lower(), answer.media_type)
    if checked.purpose is Purpose.TAG and "xml" not in (answer.media_type or ""):
        yield _warning(f"is sent {_as_type(answer.media_type)}, and not as XML")
    if checked.purpose in NEEDED_BY_SCRIPTS and not answer.allows_all_origins:
        yield _warning(f"has no Access-Control-Allow-Origin for every page, which {NEEDED_BY_SCRIPTS[checked.purpose]}")
    if checked.purpose is Purpose.MEDIA and answer.size_bytes == 0:
        yield _error("is empty")


def _bitrate_findings(media_file: MediaFile, answer: Answer, duration_s: float) -> Iterator[Finding]:
    if media_file.delivery != "progressive":
        return
    if media_file.bitrate_kbps is None:
        yield _warning("has no bitrate_kbps, by which players choose a rendition")
    elif answer.is_found and answer.size_bytes:
        actual_kbps = answer.size_bytes * 8 / 1000 / duration_s
        if abs(actual_kbps / media_file.bitrate_kbps - 1) > BITRATE_TOLERANCE:
            yield _warning(
                f"has {actual_kbps:,.0f} kbit/s by its size and duration_s, but bitrate_kbps is "
                f"{media_file.bitrate_kbps:,}"
            )


def _type_findings(declared: str, sent: str | None) -> Iterator[Finding]:
    if sent is None or sent in UNTYPED:
        yield _warning(f"is sent {_as_type(sent)}, but declared as {declared}")
    elif sent != declared and not any({sent, declared} <= names for names in SAME_TYPES):
        yield _error(f"is sent as {sent}, but declared as {declared}")


def _as_type(media_type: str | None) -> str:
    return "without a type" if media_type is None else f"as {media_type}"


def _is_h264(media_file: MediaFile) -> bool:
    codec = media_file.codec
    return media_file.type.lower() == "video/mp4" and (codec is None or codec.lower().startswith(H264_CODECS))


def _error(text: str) -> Finding:
    return Finding(Severity.ERROR, text)


def _warning(text: str) -> Finding:
    return Finding(Severity.WARNING, text)
