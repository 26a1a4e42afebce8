"""Read and write the creatives of the catalog."""

from collections.abc import Sequence

import orjson
from asyncpg import Connection, Record
from pydantic import TypeAdapter

from app.domain import NO_ELEMENTS, Creative, CreativeStatus, MediaFile, PodPosition, VastElements

_ELEMENTS = TypeAdapter(VastElements)

READ_CREATIVES = "SELECT * FROM creatives WHERE $1::varchar[] IS NULL OR id = ANY ($1) ORDER BY id"
"""Read these creatives."""

UPSERT_CREATIVE = """
INSERT INTO creatives (id, campaign_id, title, duration_s, media_files, click_through, skip_offset_s, universal_ad_id,
                       universal_ad_id_registry, mezzanine_url, description, status, starts_at, ends_at, weight,
                       sequence, position, bumper, vast_elements, vast_tag_url, follow_additional_wrappers,
                       fallback_on_no_ad)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)
ON CONFLICT (id) DO UPDATE SET
    campaign_id = excluded.campaign_id, title = excluded.title, duration_s = excluded.duration_s,
    media_files = excluded.media_files, click_through = excluded.click_through,
    skip_offset_s = excluded.skip_offset_s, universal_ad_id = excluded.universal_ad_id,
    universal_ad_id_registry = excluded.universal_ad_id_registry, mezzanine_url = excluded.mezzanine_url,
    description = excluded.description, status = excluded.status, starts_at = excluded.starts_at,
    ends_at = excluded.ends_at, weight = excluded.weight, sequence = excluded.sequence,
    position = excluded.position, bumper = excluded.bumper,
    vast_elements = excluded.vast_elements, vast_tag_url = excluded.vast_tag_url,
    follow_additional_wrappers = excluded.follow_additional_wrappers, fallback_on_no_ad = excluded.fallback_on_no_ad
"""
"""Create or replace a creative."""


def to_creative(row: Record) -> Creative:
    """Return the creative of a row of `READ_CREATIVES`."""
    fields = dict(row)
    fields["status"] = CreativeStatus(row["status"])
    fields["position"] = PodPosition(row["position"])
    elements = fields.pop("vast_elements")
    fields["elements"] = _ELEMENTS.validate_python(elements) if elements else NO_ELEMENTS
    fields["media_files"] = tuple(MediaFile(**media) for media in row["media_files"])
    return Creative(**fields)


async def upsert_creatives(connection: "Connection[Record]", creatives: Sequence[Creative]) -> None:
    """Create or replace creatives; their campaigns must exist."""
    await connection.executemany(UPSERT_CREATIVE, [_values(creative) for creative in creatives])


def _values(creative: Creative) -> tuple[object, ...]:
    return (
        creative.id,
        creative.campaign_id,
        creative.title,
        creative.duration_s,
        orjson.dumps(creative.media_files).decode(),
        creative.click_through,
        creative.skip_offset_s,
        creative.universal_ad_id,
        creative.universal_ad_id_registry,
        creative.mezzanine_url,
        creative.description,
        creative.status,
        creative.starts_at,
        creative.ends_at,
        creative.weight,
        creative.sequence,
        creative.position,
        creative.bumper,
        orjson.dumps(creative.elements.to_table()).decode(),
        creative.vast_tag_url,
        creative.follow_additional_wrappers,
        creative.fallback_on_no_ad,
    )
