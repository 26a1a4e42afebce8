"""The URLs of a creative: those that a check may request, and the trackers, which it must not."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from app.domain import Creative, MediaFile, VastElements


class Purpose(StrEnum):
    """The use of a URL of a creative."""

    MEDIA = "media"
    """Players load it."""
    CAPTIONS = "captions"
    """Players load it by script."""
    RESOURCE = "resource"
    """Players show or run it."""
    ORIGINAL = "original"
    """Stitchers load it."""
    TAG = "tag"
    """Players load it, as VAST."""
    PAGE = "page"
    """Viewers open it."""


@dataclass(frozen=True, slots=True)
class CheckedUrl:
    """A URL of a creative; `key` is its place in the campaign file."""

    key: str
    url: str
    purpose: Purpose
    media_type: str | None = None
    """The declared type; None if there is no declaration."""
    media_file: MediaFile | None = None


def checked_urls(creative: Creative) -> Iterator[CheckedUrl]:
    """Yield the URLs of a creative whose servers may be asked without counting anything."""
    for index, media_file in enumerate(creative.media_files):
        yield CheckedUrl(f"media_files[{index}]", media_file.url, Purpose.MEDIA, media_file.type, media_file)
    if creative.vast_tag_url is not None:
        yield CheckedUrl("vast_tag_url", creative.vast_tag_url, Purpose.TAG)
    if creative.mezzanine_url is not None:
        yield CheckedUrl("mezzanine_url", creative.mezzanine_url, Purpose.ORIGINAL)
    yield from _element_urls(creative.elements)
    if creative.click_through is not None:
        yield CheckedUrl("click_through", creative.click_through, Purpose.PAGE)


def _element_urls(elements: VastElements) -> Iterator[CheckedUrl]:
    for index, caption in enumerate(elements.closed_captions):
        yield CheckedUrl(f"closed_captions[{index}]", caption.url, Purpose.CAPTIONS, caption.type)
    if elements.interactive is not None:
        yield CheckedUrl("interactive", elements.interactive.url, Purpose.RESOURCE, elements.interactive.type)
    for key, displays in (("companions", elements.companions), ("icons", elements.icons)):
        for index, display in enumerate(displays):
            for url in filter(None, (display.static_url, display.iframe_url)):
                yield CheckedUrl(f"{key}[{index}]", url, Purpose.RESOURCE, display.static_type)
    for index, verification in enumerate(elements.ad_verifications):
        for number, script in enumerate(verification.javascript_resources):
            key = f"ad_verifications[{index}].javascript_resources[{number}]"
            yield CheckedUrl(key, script.url, Purpose.RESOURCE)


def tracker_urls(elements: VastElements) -> Iterator[tuple[str, str]]:
    """Yield the keys and URLs that others count requests by."""
    viewable = elements.viewable_impression
    lists = {
        "impression_urls": elements.impression_urls,
        "error_urls": elements.error_urls,
        "click_tracking_urls": elements.click_tracking_urls,
        "tracking": tuple(tracker.url for tracker in elements.tracking),
        "viewable_impression": (*viewable.viewable, *viewable.not_viewable, *viewable.view_undetermined),
    }
    for key, urls in lists.items():
        for index, url in enumerate(urls):
            yield f"{key}[{index}]" if key != "viewable_impression" else key, url
