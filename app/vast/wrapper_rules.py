"""The rules for following Wrappers: the depth, the Ads that a Wrapper admits, and the fallback for a failed one."""

from collections.abc import Collection
from enum import IntEnum

from app.vast.parser import Ad, ParsedDocument

WRAPPERS_MAX = 5
"""A longer chain of Wrappers is an error (VAST 4.2 section 2.3.5.1)."""


class WrapperError(IntEnum):
    """Values of [ERRORCODE] for a failed chain of Wrappers (VAST 4.2 section 2.3.6.3)."""

    GENERAL = 300
    TIMEOUT = 301
    LIMIT = 302
    NO_AD = 303
    NO_AD_IN_TIME = 304


def admitted_ads(wrapper: Ad, answer: ParsedDocument) -> list[Ad]:
    """Return the Ads of the response that the Wrapper admits (VAST 4.2 section 3.19).

    Without `allowMultipleAds` that is the first stand-alone Ad. A single Ad is stand-alone even with a `sequence`.
    """
    ads = [ad for ad in answer.playable_ads if wrapper.follow_additional_wrappers or not ad.is_wrapper]
    if wrapper.allow_multiple_ads or len(ads) < 2:
        return ads
    return [ad for ad in ads if ad.sequence is None][:1]


def fallback_ad(document: ParsedDocument, failed: Ad, used: Collection[Ad]) -> Ad | None:
    """Return the unused stand-alone Ad that replaces a failed Wrapper with `fallbackOnNoAd`; None without one."""
    if not failed.fallback_on_no_ad:
        return None
    stand_alone = (ad for ad in document.playable_ads if ad.sequence is None)
    return next((ad for ad in stand_alone if ad is not failed and ad not in used), None)
