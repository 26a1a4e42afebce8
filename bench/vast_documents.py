"""`python -m bench.vast_documents`: what a 4 kB upstream document costs, read anew, and once it is compiled."""

import statistics
import sys
import time
from collections.abc import Callable

from app.domain import Event
from app.vast.document_cache import DocumentCache

BASE_URL = "https://ads.example"
SIZE_BYTES = 4096
ROUNDS = 15
ROUND_S = 0.1

VALUES = {**{event.value: "x" * 72 for event in Event}, "ad_serving_id": "0199f3a0-0000-7000-8000-000000000001-0"}
"""Gaps as long as real tokens make them."""


def document() -> bytes:
    """An InLine of VAST 4.2 with two renditions and a companion, and as many trackers as fit."""
    count = 0
    while len(larger := _document(count + 1)) <= SIZE_BYTES:
        body, count = larger, count + 1
    return body


def _document(trackers: int) -> bytes:
    tracking = "".join(
        f'<Tracking event="progress" offset="00:00:{second:02}"><![CDATA[https://t.example/e?s={second}]]></Tracking>'
        for second in range(trackers)
    )
    media = "".join(
        f'<MediaFile delivery="progressive" type="video/mp4" width="{width}" height="{height}" bitrate="2000">'
        f"<![CDATA[https://cdn.example/{height}.mp4]]></MediaFile>"
        for width, height in ((1280, 720), (1920, 1080))
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><VAST version="4.2" xmlns="http://www.iab.com/VAST"><Ad id="1"><InLine>'
        "<AdSystem>upstream</AdSystem><Error><![CDATA[https://t.example/error?code=[ERRORCODE]]]></Error>"
        "<Impression><![CDATA[https://t.example/impression]]></Impression><AdServingId>a</AdServingId>"
        f"<AdTitle>An ad</AdTitle><Creatives><Creative><Linear><TrackingEvents>{tracking}</TrackingEvents>"
        f"<Duration>00:00:15</Duration><MediaFiles>{media}</MediaFiles><VideoClicks><ClickThrough>"
        "<![CDATA[https://a.example/]]></ClickThrough></VideoClicks></Linear>"
        '<UniversalAdId idRegistry="ad-id.org">CNPA0484000H</UniversalAdId></Creative>'
        '<Creative><CompanionAds><Companion width="300" height="250"><StaticResource creativeType="image/png">'
        "<![CDATA[https://cdn.example/c.png]]></StaticResource></Companion></CompanionAds>"
        '<UniversalAdId idRegistry="unknown">unknown</UniversalAdId></Creative></Creatives></InLine></Ad></VAST>'
    ).encode()


def main() -> None:
    """Prints both costs and their ratio, measured in turn in one run."""
    body = document()
    documents = DocumentCache(BASE_URL)
    compiled = documents.compile(body)
    anew, filled = [], []
    for _ in range(ROUNDS):
        anew.append(seconds_per_call(lambda: documents.compile(body).single_ad_document(0).render(VALUES)))
        filled.append(seconds_per_call(lambda: compiled.single_ad_document(0).render(VALUES)))
    slow_us, fast_us = (1e6 * statistics.median(seconds) for seconds in (anew, filled))
    sys.stdout.write(
        f"document                                {len(body):>8,} bytes\n"
        f"parse, add trackers, compile, render    {slow_us:>8.1f} us\n"
        f"fill the gaps of a compiled one         {fast_us:>8.1f} us\n"
        f"ratio                                   {slow_us / fast_us:>8.1f}\n"
    )


def seconds_per_call(work: Callable[[], object]) -> float:
    """The mean over as many calls as fit into a round."""
    started, calls = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < ROUND_S:
        work()
        calls += 1
    return elapsed / calls


if __name__ == "__main__":
    main()
