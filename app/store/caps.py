"""frequency_caps: counting an ad for a user, and taking the count back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from asyncpg import Connection, Record

from app.store.catalog_reader import READ_CATALOG_REVISION
from app.store.connections import rows_affected

TAKE_CAPS = """
WITH opened AS (
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
    FROM opened
), due AS MATERIALIZED (
    SELECT a.no, CASE c."window" WHEN 'session' THEN a.session_id ELSE a.user_key END AS user_key,
           a.ads, campaign_id, c."window", c.cap, c.window_start, c.expires_at
    FROM unnest($1::varchar[], $2::uuid[], $3::uuid[], $4::integer[])
        WITH ORDINALITY AS a (campaign_id, user_key, session_id, ads, no)
    JOIN capped c USING (campaign_id)
), counted AS (
    INSERT INTO frequency_caps AS f (user_key, campaign_id, "window", window_start, count, cap, expires_at)
    SELECT user_key, campaign_id, "window", window_start, least(ads, cap), cap, expires_at
    FROM due WHERE user_key IS NOT NULL
    ORDER BY user_key, campaign_id, "window"
    ON CONFLICT (user_key, campaign_id, "window", window_start) DO UPDATE
        SET count = least(f.count + excluded.count, excluded.cap), cap = excluded.cap
        WHERE f.count < excluded.cap
    RETURNING user_key, campaign_id, "window", new.count - coalesce(old.count, 0) AS ads
), short AS (
    SELECT no, "window", coalesce(counted.ads, 0) AS ads
    FROM due LEFT JOIN counted USING (user_key, campaign_id, "window")
    WHERE due.user_key IS NOT NULL AND counted.ads IS DISTINCT FROM due.ads
)
SELECT catalog.revision, adserver_clock() AS at, no, "window", ads FROM catalog LEFT JOIN short ON true
"""
"""Counts ads in every window of each cap, as many as there is room for; returns the windows that had too little room,
and how many ads each of them counted.

What the other windows counted beyond that is given back later. The rows are locked in the order of user, campaign and
window, which is the same in every transaction. A session lasts at most a day, so its count may be swept a day later.
Every row has the catalog's revision and the database's clock.

The windows are computed for each campaign and not for each ad. Without OFFSET 0, `window_start` would be put in the
place of the column of that name, and `window_end` is not inlined when its argument is that long: ten times slower."""

GIVE_BACK_CAPS = """
UPDATE frequency_caps f SET count = f.count - (coalesce(short.ads, a.taken) - a.paid)
FROM unnest($1::varchar[], $2::uuid[], $3::uuid[], $4::integer[], $5::integer[])
    WITH ORDINALITY AS a (campaign_id, user_key, session_id, taken, paid, no)
JOIN campaigns c ON c.id = a.campaign_id
JOIN campaign_caps w ON w.campaign_id = a.campaign_id
LEFT JOIN unnest($6::bigint[], $7::text[], $8::integer[]) AS short (no, "window", ads)
    ON short.no = a.no AND short."window" = w."window"
WHERE f.campaign_id = a.campaign_id AND f."window" = w."window"
    AND f.user_key = CASE w."window" WHEN 'session' THEN a.session_id ELSE a.user_key END
    AND f.window_start = window_start(w."window", adserver_clock(), c.timezone)
    AND coalesce(short.ads, a.taken) > a.paid
"""
"""Takes back the counts of ads that were not paid for, in each window as many as it counted.

No lock is waited for: the transaction has held these rows since it took them."""

DELETE_EXPIRED_COUNTS = """
DELETE FROM frequency_caps WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM frequency_caps
    WHERE ctid >= $1 AND ctid < $2 AND expires_at < adserver_clock() - interval '10 minutes'
    FOR UPDATE SKIP LOCKED))
"""
"""Removes the counts in a range of pages whose window is over, and was when any transaction that runs now began: to
one that is older than that, the count would seem never to have been. No index is kept for this, as each user's every
new window would pay for it."""

COUNT_CAPS_PAGES = "SELECT pg_relation_size('frequency_caps') / current_setting('block_size')::int"
"""How many pages the counts fill."""


class CapIncrement(NamedTuple):
    """The ads of one campaign to be counted for one user, in the order of the statement's parameters."""

    campaign_id: str
    user_key: UUID | None
    session_id: UUID | None
    ads: int = 1


class CapShortfall(NamedTuple):
    """A window with too little room: the position of what was asked, from 0, and how many ads it counted."""

    position: int
    window: str
    ads: int


@dataclass(frozen=True, slots=True)
class TakeResult:
    """What became of a group's counts: where nothing is `short`, all windows counted all ads."""

    revision: int
    at: datetime
    short: list[CapShortfall]


async def take(connection: "Connection[Record]", counts: Sequence[CapIncrement]) -> TakeResult:
    """Counts ads in all cap windows of their campaigns; no user may occur twice with the same campaign."""
    rows = await connection.fetch(TAKE_CAPS, *zip(*counts, strict=True))
    short = [CapShortfall(row["no"] - 1, row["window"], row["ads"]) for row in rows if row["no"] is not None]
    return TakeResult(rows[0]["revision"], rows[0]["at"], short)


async def give_back(
    connection: "Connection[Record]", counts: Sequence[CapIncrement], paid: Sequence[int], short: Sequence[CapShortfall]
) -> int:
    """Takes the counts back, except for the number of ads `paid` of each; returns the catalog's revision in use.

    `short` has the windows that counted fewer ads than they were asked to, with positions in `counts`.
    """
    campaign_ids, user_keys, session_ids, taken = zip(*counts, strict=True)
    await connection.execute(
        GIVE_BACK_CAPS,
        *(campaign_ids, user_keys, session_ids, taken, paid),
        *([position + 1 for position, _, _ in short], [window for _, window, _ in short], [ads for _, _, ads in short]),
    )
    revision: int = await connection.fetchval(READ_CATALOG_REVISION)
    return revision


async def count_pages(connection: "Connection[Record]") -> int:
    """The size of the counts in pages."""
    pages: int = await connection.fetchval(COUNT_CAPS_PAGES)
    return pages


async def delete_expired_counts(connection: "Connection[Record]", first_page: int, end_page: int) -> int:
    """Removes expired counts from a range of pages; returns how many."""
    return rows_affected(await connection.execute(DELETE_EXPIRED_COUNTS, (first_page, 0), (end_page, 0)))
