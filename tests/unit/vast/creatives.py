"""Creatives and campaigns to render."""

from datetime import UTC, datetime
from decimal import Decimal

from app.domain import Campaign, CampaignStatus, Creative, MediaFile, Price, PriceModel

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
