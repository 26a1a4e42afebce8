"""frequency_caps: count ads for a user, give counts back, and delete expired counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from asyncpg import Connection, Record

from app.store.catalog_reader import READ_CATALOG_REVISION
from app.store.connections import rows_affected
from app.store.sql_fragments import APPLIED_WINDOWS

COUNTED_ADS = """counted AS (
    INSERT INTO frequency_caps AS f (user_key, campaign_id, "window", window_start, count, cap, expires_at)
    SELECT user_key, campaign_id, "window", window_start, least(ads, cap), cap, expires_at
    FROM increment WHERE user_key IS NOT NULL
    ORDER BY user_key, campaign_id, "window"
    ON CONFLICT (user_key, campaign_id, "window", window_start) DO UPDATE
        SET count = least(f.count + excluded.count, excluded.cap), cap = excluded.cap
        WHERE f.count < excluded.cap
    RETURNING user_key, campaign_id, "window", new.count - coalesce(old.count, 0) AS ads
), shortfall AS (
    SELECT ordinal, campaign_id, "window", coalesce(counted.ads, 0) AS ads
    FROM increment LEFT JOIN counted USING (user_key, campaign_id, "window")
    WHERE increment.user_key IS NOT NULL AND counted.ads IS DISTINCT FROM increment.ads
)
SELECT catalog.revision, adserver_clock() AS database_time, ordinal, campaign_id, "window", ads
FROM catalog LEFT JOIN shortfall ON true
"""
"""The rest of a statement that counts the ads of each `increment`: the UPSERT, and the windows with too little room."""

TAKE_PLAIN_CAPS = f"""
WITH current_window AS (
    SELECT c.id AS campaign_id, c.timezone, w."window", w.impressions AS cap,
           window_start(w."window", adserver_clock(), c.timezone) AS window_start
    FROM campaigns c JOIN campaign_caps w ON w.campaign_id = c.id
    WHERE c.id = ANY ($1)
    OFFSET 0
), capped AS MATERIALIZED (
    SELECT campaign_id, "window", cap, window_start, CASE "window"
        WHEN 'session' THEN adserver_clock() + interval '1 day'
        ELSE window_end("window", window_start, timezone)
    END AS expires_at
    FROM current_window
), increment AS MATERIALIZED (
    SELECT a.ordinal, CASE c."window" WHEN 'session' THEN a.session_id ELSE a.user_key END AS user_key,
           a.ads, campaign_id, c."window", c.cap, c.window_start, c.expires_at
    FROM unnest($1::varchar[], $2::uuid[], $3::uuid[], $4::integer[])
        WITH ORDINALITY AS a (campaign_id, user_key, session_id, ads, ordinal)
    JOIN capped c USING (campaign_id)
), {COUNTED_ADS}"""
"""Count ads in every window of their campaigns' caps, up to each cap; return the windows with too little room, and the
number of ads that each of them counted.

`GIVE_BACK_CAPS` later removes the excess from the other windows. The rows are locked in the order of user, campaign and
window, which is the same in every transaction. A session lasts at most a day, so its count may be deleted a day later.
Every row has the catalog's revision and the database's clock.

The windows are computed for each campaign, not for each ad. Without OFFSET 0, the planner would replace the column
`window_start` by its expression, and `window_end` is not inlined with such a long argument: ten times slower."""

APPLIED_INCREMENTS = f"""{APPLIED_WINDOWS}, increment AS MATERIALIZED (
    SELECT r.ordinal, CASE a."window" WHEN 'session' THEN r.session_id ELSE r.user_key END AS user_key,
           CASE a.level WHEN 'creative' THEN ' creative ' || k.creative_id ELSE a.counter END AS campaign_id,
           CASE a.level WHEN 'creative' THEN 1 ELSE r.ads END AS ads, a."window", a.cap, a.window_start, CASE a."window"
               WHEN 'session' THEN adserver_clock() + interval '1 day'
               ELSE cap_window_end(a."window", a.window_start, a.timezone)
           END AS expires_at
    FROM unnest($1::varchar[], $2::uuid[], $3::uuid[], $4::integer[])
        WITH ORDINALITY AS r (campaign_id, user_key, session_id, ads, ordinal)
    JOIN applied a USING (campaign_id)
    LEFT JOIN unnest($5::bigint[], $6::varchar[]) AS k (ordinal, creative_id)
        ON a.level = 'creative' AND k.ordinal = r.ordinal
    WHERE a.level <> 'creative' OR k.creative_id IS NOT NULL
)"""
"""CTEs that find every count that ads change, at all levels and in windows of any length."""

TAKE_CAPS = f"""
WITH {APPLIED_INCREMENTS}, {COUNTED_ADS}"""
"""Do the same for campaigns of which any has caps of another level, or windows of any length.

This is a second statement because the steps for levels would cost every group a part of its time."""

GIVE_BACK_CAPS = f"""
WITH {APPLIED_INCREMENTS}
UPDATE frequency_caps f SET count = f.count - (coalesce(shortfall.ads, a.ads) - a.kept)
FROM (
    SELECT i.*, CASE
        WHEN i.campaign_id LIKE ' creative %' THEN (p.creative_id IS NOT NULL)::integer ELSE n.paid
    END AS kept
    FROM increment i JOIN unnest($7::integer[]) WITH ORDINALITY AS n (paid, ordinal) USING (ordinal)
    LEFT JOIN unnest($8::bigint[], $9::varchar[]) AS p (ordinal, creative_id)
        ON p.ordinal = i.ordinal AND i.campaign_id = ' creative ' || p.creative_id
) AS a
LEFT JOIN unnest($10::bigint[], $11::varchar[], $12::text[], $13::integer[])
    AS shortfall (ordinal, campaign_id, "window", ads)
    ON shortfall.ordinal = a.ordinal AND shortfall.campaign_id = a.campaign_id AND shortfall."window" = a."window"
WHERE f.user_key = a.user_key AND f.campaign_id = a.campaign_id AND f."window" = a."window"
    AND f.window_start = a.window_start AND coalesce(shortfall.ads, a.ads) > a.kept
"""
"""Give back the counts of ads that were not paid for, in each window as many as it counted.

It waits for no lock: the transaction already holds the locks of these rows."""

DELETE_EXPIRED_COUNTS = """
DELETE FROM frequency_caps WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM frequency_caps
    WHERE ctid >= $1 AND ctid < $2 AND expires_at < adserver_clock() - interval '10 minutes'
    FOR UPDATE SKIP LOCKED))
"""
"""Delete the expired counts in a range of pages.

The ten minutes ensure that a count had expired before the oldest running transaction began; that transaction would
otherwise start the count again from zero. There is no index for this, because every new window of a user would have to
update it."""

COUNT_CAPS_PAGES = "SELECT pg_relation_size('frequency_caps') / current_setting('block_size')::int"
"""Count the pages of the table frequency_caps."""


class CapIncrement(NamedTuple):
    """Ads to count for one user and campaign; its own creatives are given, unless the ads are an upstream's."""

    campaign_id: str
    user_key: UUID | None
    session_id: UUID | None
    ads: int = 1
    creative_ids: Sequence[str] = ()


class CapShortfall(NamedTuple):
    """A window with too little room: the position of its increment from 0, and the number of ads it counted."""

    position: int
    counter: str
    """The key of the count: the campaign's id, or that of a creative, an order or an advertiser."""
    window: str
    ads: int


@dataclass(frozen=True, slots=True)
class TakeResult:
    """The outcome of a group's increments: windows that are not in `shortfalls` counted all ads."""

    revision: int
    database_time: datetime
    shortfalls: list[CapShortfall]


async def take(
    connection: "Connection[Record]", increments: Sequence[CapIncrement], *, is_plain: bool = False
) -> TakeResult:
    """Count ads in all cap windows of their campaigns; a user must not occur twice with a count that both change.

    `is_plain` may be True if, at the catalog revision that is returned, the campaigns have only caps of their own, over
    windows of the calendar.
    """
    *columns, creative_ids = zip(*increments, strict=True)
    if is_plain:
        rows = await connection.fetch(TAKE_PLAIN_CAPS, *columns)
    else:
        rows = await connection.fetch(TAKE_CAPS, *columns, *_with_ordinals(creative_ids))
    shortfalls = [
        CapShortfall(row["ordinal"] - 1, row["campaign_id"], row["window"], row["ads"])
        for row in rows
        if row["ordinal"] is not None
    ]
    return TakeResult(rows[0]["revision"], rows[0]["database_time"], shortfalls)


async def give_back(
    connection: "Connection[Record]",
    increments: Sequence[CapIncrement],
    paid: Sequence[int],
    paid_creative_ids: Sequence[Sequence[str]],
    shortfalls: Sequence[CapShortfall],
) -> int:
    """Give back the counts of the ads beyond the number `paid` of each increment; return the catalog's revision.

    `paid_creative_ids` are the creatives of the ads that were paid for. `shortfalls` has the windows that counted fewer
    ads than requested, with positions in `increments`.
    """
    *columns, creative_ids = zip(*increments, strict=True)
    await connection.execute(
        GIVE_BACK_CAPS,
        *columns,
        *_with_ordinals(creative_ids),
        paid,
        *_with_ordinals(paid_creative_ids),
        [shortfall.position + 1 for shortfall in shortfalls],
        [shortfall.counter for shortfall in shortfalls],
        [shortfall.window for shortfall in shortfalls],
        [shortfall.ads for shortfall in shortfalls],
    )
    revision: int = await connection.fetchval(READ_CATALOG_REVISION)
    return revision


def _with_ordinals(creative_ids: Sequence[Sequence[str]]) -> tuple[list[int], list[str]]:
    """Return two columns: the number from 1 of the increment of each creative, and the creative's id."""
    pairs = [(number, creative_id) for number, ids in enumerate(creative_ids, 1) for creative_id in ids]
    return [number for number, _ in pairs], [creative_id for _, creative_id in pairs]


async def count_pages(connection: "Connection[Record]") -> int:
    """Return the size of the table of counts in pages."""
    pages: int = await connection.fetchval(COUNT_CAPS_PAGES)
    return pages


async def delete_expired_counts(connection: "Connection[Record]", first_page: int, end_page: int) -> int:
    """Delete the expired counts from a range of pages; return their number."""
    return rows_affected(await connection.execute(DELETE_EXPIRED_COUNTS, (first_page, 0), (end_page, 0)))
