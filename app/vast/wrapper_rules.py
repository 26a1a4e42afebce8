"""The rules of following Wrappers: how deep, which Ads of an answer count, what stands in for one that failed."""

from collections.abc import Collection
from enum import IntEnum

from app.vast.parser import Ad, ParsedDocument

WRAPPERS_MAX = 5
"""More Wrappers than this, one after the other, are an error (VAST 4.2 section 2.3.5.1)."""


class WrapperError(IntEnum):
    """Codes for [ERRORCODE] in the Error URLs of a chain that failed (VAST 4.2 section 2.3.6.3)."""

    GENERAL = 300
    TIMEOUT = 301
    LIMIT = 302
    NO_AD = 303
    NO_AD_IN_TIME = 304


def admitted_ads(wrapper: Ad, answer: ParsedDocument) -> list[Ad]:
    """The Ads of the answer to a Wrapper's VASTAdTagURI that it lets in (VAST 4.2 section 3.19).

    Without `allowMultipleAds` that is the first stand-alone Ad; an only Ad counts as one, though it has a `sequence`.
    """
    ads = [ad for ad in answer.playable_ads if wrapper.follow_additional_wrappers or not ad.is_wrapper]
    if wrapper.allow_multiple_ads or len(ads) < 2:
        return ads
    return [ad for ad in ads if ad.sequence is None][:1]


def fallback_ad(document: ParsedDocument, failed: Ad, used: Collection[Ad]) -> Ad | None:
    """The stand-alone Ad that takes the place of a Wrapper without an ad, if it asks for that (`fallbackOnNoAd`)."""
    if not failed.fallback_on_no_ad:
        return None
    stand_alone = (ad for ad in document.playable_ads if ad.sequence is None)
    return next((ad for ad in stand_alone if ad is not failed and ad not in used), None)
