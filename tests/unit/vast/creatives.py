"""Creatives and campaigns to render."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from app.domain import (
    AdCategory,
    AdVerification,
    Campaign,
    CampaignStatus,
    ClosedCaption,
    Companion,
    Creative,
    ExecutableResource,
    Icon,
    InteractiveCreative,
    JavaScriptResource,
    MediaFile,
    Price,
    PriceModel,
    Tracker,
    TrackingEvent,
    UniversalAdId,
    VastElements,
    ViewableImpression,
)

ADVERTISER = "Acme & Söhne"

CAMPAIGN = Campaign(
    id="campaign1",
    advertiser="acme",
    status=CampaignStatus.ACTIVE,
    currency="EUR",
    timezone="UTC",
    starts_at=datetime(2026, 1, 1, tzinfo=UTC),
    ends_at=datetime(2027, 1, 1, tzinfo=UTC),
    price=Price(PriceModel.CPM, Decimal("2.50")),
)

PLAIN = Creative(
    id="acme-15s",
    campaign_id="campaign1",
    title="Acme",
    duration_s=15,
    media_files=(MediaFile("https://cdn.example/acme.mp4", "video/mp4", 1280, 720),),
)

FULL = Creative(
    id="acme-long",
    campaign_id="campaign1",
    title="Acme <b>& more</b>",
    duration_s=3725,
    media_files=(
        MediaFile("https://cdn.example/small.mp4", "video/mp4", 640, 360, 600),
        MediaFile("https://cdn.example/big.webm", "video/webm", 1920, 1080, 4000, "streaming", "vp9"),
    ),
    click_through="https://acme.example/?a=1&b=2",
    skip_offset_s=5,
    universal_ad_id="CNPA0484000H",
    universal_ad_id_registry="ad-id.org",
    mezzanine_url="https://cdn.example/raw.mov",
    description="A long one",
)


def urls(name: str) -> tuple[str, str]:
    """Two URLs of a third party."""
    return f"https://third.example/{name}?n=1st&cb=[CACHEBUSTING]", f"https://third.example/{name}?n=2nd"


def both(name: str) -> tuple[str, str]:
    return f"{name}-1st", f"{name}-2nd"


ELEMENTS = VastElements(
    impression_urls=urls("impression"),
    error_urls=urls("error"),
    click_tracking_urls=urls("click"),
    tracking=(
        *(
            Tracker(event, url, "7.5" if event is TrackingEvent.PROGRESS else None)
            for event in TrackingEvent
            for url in urls(event)
        ),
        Tracker(TrackingEvent.PROGRESS, "https://third.example/part", "33.3%"),
    ),
    viewable_impression=ViewableImpression(urls("viewable"), urls("hidden"), urls("undetermined")),
    ad_verifications=tuple(
        AdVerification(
            vendor,
            (JavaScriptResource(f"https://{vendor}/omid.js", browser_optional=True),),
            (ExecutableResource(f"https://{vendor}/omid.so", "omid", "application/x-elf"),),
            tuple(f"{url}&reason=[REASON]" for url in urls("not-executed")),
            '{"campaign": "1 & 2"}',
        )
        for vendor in both("vendor.example")
    ),
    companions=(
        Companion(
            width=300,
            height=250,
            id="c-1st",
            static_url="https://cdn.example/banner.png?n=1st",
            static_type="image/png",
            alt_text="Acme & more",
            click_through="https://acme.example/",
            click_tracking_urls=urls("companion-click"),
            creative_view_urls=urls("companion-view"),
        ),
        Companion(width=728, height=90, id="c-2nd", iframe_url="https://cdn.example/banner.html"),
        Companion(width=728, height=90, html="<b>Acme &amp; more</b>"),
    ),
    icons=tuple(
        Icon(
            program=program,
            width=20,
            height=20,
            x_position="right",
            y_position="10",
            offset_s=0,
            duration_s=15,
            static_url="https://cdn.example/icon.png",
            static_type="image/png",
            click_through="https://choices.example/",
            click_tracking_urls=urls("icon-click")[:1],
            view_urls=urls("icon-view")[:1],
        )
        for program in both("AdChoices")
    ),
    closed_captions=tuple(ClosedCaption(url, "text/vtt", "en-US") for url in urls("captions")),
    interactive=InteractiveCreative("https://cdn.example/simid.html?1st", variable_duration=True),
    universal_ad_ids=tuple(UniversalAdId(ad_id, "clearcast.co.uk") for ad_id in both("CLC")),
    categories=tuple(AdCategory("https://iabtechlab.com", code) for code in both("IAB")),
    ad_parameters='{"color": "1st"}',
)
"""Every key, with two values where a creative may have several; `1st` and `2nd` tell them apart."""

EVERYTHING = replace(FULL, id="acme-everything", elements=ELEMENTS)
