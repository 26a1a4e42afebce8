"""Upstream documents with several Ads: pods, stand-alone ads, Wrappers, and Ads with nothing to show."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class DrawnAd:
    """One Ad: `duration` as written in it; a Wrapper leads to `tag_url`."""

    sequence: int | None = None
    duration: str = "00:00:15"
    tag_url: str | None = None
    empty: bool = False


def vast(ads: Sequence[DrawnAd], version: str = "4.2", title: str = "Acme") -> bytes:
    """A document of these Ads, in their order."""
    namespace = ' xmlns="http://www.iab.com/VAST"' if version[0] == "4" else ""
    written = "".join(_ad(number, ad, title, version) for number, ad in enumerate(ads))
    return f'<?xml version="1.0"?><VAST version="{version}"{namespace}>{written}</VAST>'.encode()


def _ad(number: int, ad: DrawnAd, title: str, version: str) -> str:
    sequence = "" if ad.sequence is None else f' sequence="{ad.sequence}"'
    impression = f"<Impression><![CDATA[http://127.0.0.1:9/imp?of={number}]]></Impression>"
    if ad.tag_url is not None:
        inner = (
            f'<Wrapper allowMultipleAds="true"><AdSystem>w</AdSystem>{impression}'
            f"<VASTAdTagURI><![CDATA[{ad.tag_url}]]></VASTAdTagURI></Wrapper>"
        )
    else:
        inner = f"<InLine><AdSystem>u</AdSystem>{impression}{_rest(number, ad, title, version)}</InLine>"
    return f'<Ad id="{number}"{sequence}>{inner}</Ad>'


def _rest(number: int, ad: DrawnAd, title: str, version: str) -> str:
    serving_id = "<AdServingId>s</AdServingId>" if version in ("4.1", "4.2") else ""
    universal = '<UniversalAdId idRegistry="unknown">unknown</UniversalAdId>' if version[0] == "4" else ""
    media = (
        '<MediaFiles><MediaFile delivery="progressive" type="video/mp4" width="640" height="360">'
        f"<![CDATA[https://cdn.example/{number}.mp4]]></MediaFile></MediaFiles>"
    )
    linear = f"<Linear><Duration>{ad.duration}</Duration>{media}</Linear>"
    creatives = "" if ad.empty else f"<Creative>{linear}{universal}</Creative>"
    return f"{serving_id}<AdTitle>{title} {number}</AdTitle><Creatives>{creatives}</Creatives>"
