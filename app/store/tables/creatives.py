"""The creatives of campaigns."""

from sqlalchemy import Boolean, CheckConstraint, Integer, Numeric, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from app.store.tables.columns import (
    Identifier,
    Timestamp,
    allowed_values,
    key_column,
    metadata,
    optional,
    reference,
    required,
)

creatives = Table(
    "creatives",
    metadata,
    key_column("id", Identifier, "Creative id"),
    reference("campaign_id", "campaigns.id", "Campaign", index=True),
    required("title", Text, "AdTitle"),
    required("duration_s", Numeric, "Duration in seconds, exact to milliseconds"),
    required("media_files", JSONB, "MediaFiles: url, type, width, height, bitrate_kbps, ..."),
    optional("vast_tag_url", Text, "VASTAdTagURI, for an ad that another server has; NULL for media files"),
    optional("follow_additional_wrappers", Boolean, "followAdditionalWrappers; NULL for its default"),
    optional("fallback_on_no_ad", Boolean, "fallbackOnNoAd; NULL for its default"),
    optional("click_through", Text, "URL that a click leads to"),
    optional("skip_offset_s", Integer, "Seconds after which the ad can be skipped; NULL for never"),
    optional("universal_ad_id", Text, "UniversalAdId; NULL for the creative's own id"),
    required("universal_ad_id_registry", Text, "idRegistry of the UniversalAdId"),
    optional("mezzanine_url", Text, "Mezzanine file for stitchers"),
    optional("description", Text, "Description"),
    required(
        "vast_elements",
        JSONB,
        "VAST elements besides the media files: impression_urls, tracking, ad_verifications, ...",
        server_default=text("'{}'"),
    ),
    required("status", Text, "active, paused or archived; only an active creative is served"),
    optional("starts_at", Timestamp, "When it begins to be served; NULL for no limit"),
    optional("ends_at", Timestamp, "When it is not served any more; NULL for no limit"),
    required("weight", Integer, "Its share of the ads of its campaign, in comparison with the other weights"),
    optional("sequence", Integer, "Position in a viewing session; NULL for after all that have one"),
    required("position", Text, "Position in a pod: first, last or any", server_default=text("'any'")),
    required("bumper", Boolean, "Whether it opens a pod, in front of other ads", server_default=text("false")),
    CheckConstraint("duration_s > 0", name="duration_is_positive"),
    CheckConstraint("scale(trim_scale(duration_s)) <= 3", name="duration_is_in_milliseconds"),
    CheckConstraint("(vast_tag_url IS NULL) = (media_files <> '[]'::jsonb)", name="creative_has_files_or_a_tag"),
    CheckConstraint("weight > 0", name="weight_is_positive"),
    CheckConstraint("ends_at > starts_at", name="creative_ends_after_it_starts"),
    allowed_values("creative_status_is_known", "status", "active paused archived"),
    allowed_values("creative_position_is_known", "position", "first last any"),
    comment="Linear video and audio ads of the campaigns themselves",
)
