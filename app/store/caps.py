"""frequency_caps: counting an ad for a user, and taking the count back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from asyncpg import Connection, Record

TAKE = """
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
           campaign_id, c."window", c.cap, c.window_start, c.expires_at
    FROM unnest($1::varchar[], $2::uuid[], $3::uuid[])
        WITH ORDINALITY AS a (campaign_id, user_key, session_id, no)
    JOIN capped c USING (campaign_id)
), counted AS (
    INSERT INTO frequency_caps AS f (user_key, campaign_id, "window", window_start, count, cap, expires_at)
    SELECT user_key, campaign_id, "window", window_start, 1, cap, expires_at
    FROM due WHERE user_key IS NOT NULL
    ORDER BY user_key, campaign_id, "window"
    ON CONFLICT (user_key, campaign_id, "window", window_start) DO UPDATE
        SET count = f.count + 1, cap = excluded.cap
        WHERE f.count < excluded.cap
    RETURNING user_key, campaign_id, "window"
), uncounted AS (
    SELECT no, "window" FROM due LEFT JOIN counted USING (user_key, campaign_id, "window")
    WHERE due.user_key IS NOT NULL AND counted.user_key IS NULL
)
SELECT catalog.revision, adserver_clock() AS at, no, "window" FROM catalog LEFT JOIN uncounted ON true
"""
"""Counts one ad in every window of each cap, where there is room; returns the windows that had none.

What was counted of an ad with a full window is to be given back. The rows are locked in the order of user, campaign
and window, which is the same in every transaction. A session lasts a day at the most, so its count may be swept a day
later. Every row has the catalog's revision and the database's clock.

The windows are computed for each campaign and not for each ad. Without OFFSET 0, `window_start` would be put in the
place of the column of that name, and `window_end` is not inlined when its argument is that long: ten times slower."""

GIVE_BACK = """
UPDATE frequency_caps f SET count = f.count - 1
FROM unnest($1::varchar[], $2::uuid[], $3::uuid[])
    WITH ORDINALITY AS a (campaign_id, user_key, session_id, no)
JOIN campaigns c ON c.id = a.campaign_id
JOIN campaign_caps w ON w.campaign_id = a.campaign_id
WHERE f.campaign_id = a.campaign_id AND f."window" = w."window"
    AND f.user_key = CASE w."window" WHEN 'session' THEN a.session_id ELSE a.user_key END
    AND f.window_start = window_start(w."window", adserver_clock(), c.timezone)
    AND (a.no, w."window") NOT IN (SELECT * FROM unnest($4::bigint[], $5::text[]))
"""
"""Takes back the counts of ads that were not paid for, except in the windows that did not count them.

Nobody waits here for anybody: the transaction has these rows locked since it took them."""

REVISION = "SELECT revision FROM catalog"
"""The catalog's revision: caps are given back by the same definitions that they were taken by, or not at all."""

Uncounted = tuple[int, str]
"""Position in what was asked, from 0, and a window that did not count it."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a group's ads: those that are not in `uncounted` are counted in every window."""

    revision: int
    at: datetime
    uncounted: list[Uncounted]


async def take(
    connection: "Connection[Record]",
    campaign_ids: Sequence[str],
    user_keys: Sequence[UUID | None],
    session_ids: Sequence[UUID | None],
) -> Taken:
    """Counts an ad for each position of the parallel sequences; no user may stand in them twice with one campaign."""
    rows = await connection.fetch(TAKE, campaign_ids, user_keys, session_ids)
    uncounted = [(row["no"] - 1, row["window"]) for row in rows if row["no"] is not None]
    return Taken(rows[0]["revision"], rows[0]["at"], uncounted)


async def give_back(
    connection: "Connection[Record]",
    campaign_ids: Sequence[str],
    user_keys: Sequence[UUID | None],
    session_ids: Sequence[UUID | None],
    uncounted: Sequence[Uncounted],
) -> int:
    """Takes the counts back, but for the `uncounted` windows; returns the catalog's revision that this went by."""
    await connection.execute(
        GIVE_BACK,
        campaign_ids,
        user_keys,
        session_ids,
        [no + 1 for no, _ in uncounted],
        [window for _, window in uncounted],
    )
    revision: int = await connection.fetchval(REVISION)
    return revision
