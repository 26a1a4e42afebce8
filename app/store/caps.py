"""frequency_caps: count ads for a user, give counts back, and delete expired counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from asyncpg import Connection, Record

from app.store.catalog_reader import READ_CATALOG_REVISION
from app.store.connections import rows_affected

TAKE_CAPS = """
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
), counted AS (
    INSERT INTO frequency_caps AS f (user_key, campaign_id, "window", window_start, count, cap, expires_at)
    SELECT user_key, campaign_id, "window", window_start, least(ads, cap), cap, expires_at
    FROM increment WHERE user_key IS NOT NULL
    ORDER BY user_key, campaign_id, "window"
    ON CONFLICT (user_key, campaign_id, "window", window_start) DO UPDATE
        SET count = least(f.count + excluded.count, excluded.cap), cap = excluded.cap
        WHERE f.count < excluded.cap
    RETURNING user_key, campaign_id, "window", new.count - coalesce(old.count, 0) AS ads
), shortfall AS (
    SELECT ordinal, "window", coalesce(counted.ads, 0) AS ads
    FROM increment LEFT JOIN counted USING (user_key, campaign_id, "window")
    WHERE increment.user_key IS NOT NULL AND counted.ads IS DISTINCT FROM increment.ads
)
SELECT catalog.revision, adserver_clock() AS database_time, ordinal, "window", ads
FROM catalog LEFT JOIN shortfall ON true
"""
"""Count ads in every window of their campaigns' caps, up to each cap; return the windows with too little room, and the
number of ads that each of them counted.

`GIVE_BACK_CAPS` later removes the excess from the other windows. The rows are locked in the order of user, campaign and
window, which is the same in every transaction. A session lasts at most a day, so its count may be deleted a day later.
Every row has the catalog's revision and the database's clock.

The windows are computed for each campaign, not for each ad. Without OFFSET 0, the planner would replace the column
`window_start` by its expression, and `window_end` is not inlined with such a long argument: ten times slower."""

GIVE_BACK_CAPS = """
UPDATE frequency_caps f SET count = f.count - (coalesce(shortfall.ads, a.taken) - a.paid)
FROM unnest($1::varchar[], $2::uuid[], $3::uuid[], $4::integer[], $5::integer[])
    WITH ORDINALITY AS a (campaign_id, user_key, session_id, taken, paid, ordinal)
JOIN campaigns c ON c.id = a.campaign_id
JOIN campaign_caps w ON w.campaign_id = a.campaign_id
LEFT JOIN unnest($6::bigint[], $7::text[], $8::integer[]) AS shortfall (ordinal, "window", ads)
    ON shortfall.ordinal = a.ordinal AND shortfall."window" = w."window"
WHERE f.campaign_id = a.campaign_id AND f."window" = w."window"
    AND f.user_key = CASE w."window" WHEN 'session' THEN a.session_id ELSE a.user_key END
    AND f.window_start = window_start(w."window", adserver_clock(), c.timezone)
    AND coalesce(shortfall.ads, a.taken) > a.paid
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
    """A number of ads to count for one user and campaign, in the order of the statement's parameters."""

    campaign_id: str
    user_key: UUID | None
    session_id: UUID | None
    ads: int = 1


class CapShortfall(NamedTuple):
    """A window with too little room: the position of its increment from 0, and the number of ads it counted."""

    position: int
    window: str
    ads: int


@dataclass(frozen=True, slots=True)
class TakeResult:
    """The outcome of a group's increments: windows that are not in `shortfalls` counted all ads."""

    revision: int
    database_time: datetime
    shortfalls: list[CapShortfall]


async def take(connection: "Connection[Record]", increments: Sequence[CapIncrement]) -> TakeResult:
    """Count ads in all cap windows of their campaigns; a user must not occur twice with the same campaign."""
    rows = await connection.fetch(TAKE_CAPS, *zip(*increments, strict=True))
    shortfalls = [
        CapShortfall(row["ordinal"] - 1, row["window"], row["ads"]) for row in rows if row["ordinal"] is not None
    ]
    return TakeResult(rows[0]["revision"], rows[0]["database_time"], shortfalls)


async def give_back(
    connection: "Connection[Record]",
    increments: Sequence[CapIncrement],
    paid: Sequence[int],
    shortfalls: Sequence[CapShortfall],
) -> int:
    """Give back the counts of the ads beyond the number `paid` of each increment; return the catalog's revision.

    `shortfalls` has the windows that counted fewer ads than requested, with positions in `increments`.
    """
    campaign_ids, user_keys, session_ids, taken = zip(*increments, strict=True)
    await connection.execute(
        GIVE_BACK_CAPS,
        *(campaign_ids, user_keys, session_ids, taken, paid),
        [position + 1 for position, _, _ in shortfalls],
        [window for _, window, _ in shortfalls],
        [ads for _, _, ads in shortfalls],
    )
    revision: int = await connection.fetchval(READ_CATALOG_REVISION)
    return revision


async def count_pages(connection: "Connection[Record]") -> int:
    """Return the size of the table of counts in pages."""
    pages: int = await connection.fetchval(COUNT_CAPS_PAGES)
    return pages


async def delete_expired_counts(connection: "Connection[Record]", first_page: int, end_page: int) -> int:
    """Delete the expired counts from a range of pages; return their number."""
    return rows_affected(await connection.execute(DELETE_EXPIRED_COUNTS, (first_page, 0), (end_page, 0)))
