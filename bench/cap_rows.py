"""Frequency caps of many viewers, as if each had been counted before: how large the table has grown."""

from app.serving.keys import hash_key, user_key
from bench.books import connected
from bench.scale import CAMPAIGNS

WINDOWS = 2
"""The windows of each campaign's caps."""

DROP_KEY = "ALTER TABLE frequency_caps DROP CONSTRAINT frequency_caps_pkey"

FILL = """
WITH due AS MATERIALIZED (
    SELECT c.id, w."window", s.window_start, w.impressions,
           window_end(w."window", s.window_start, c.timezone) AS ends_at
    FROM campaigns c JOIN campaign_caps w ON w.campaign_id = c.id
    CROSS JOIN LATERAL (SELECT window_start(w."window", adserver_clock(), c.timezone)) AS s (window_start)
    WHERE c.id LIKE 'c%' ORDER BY c.id, w."window"
)
INSERT INTO frequency_caps (user_key, campaign_id, "window", window_start, count, cap, expires_at)
SELECT v.user_key, due.id, due."window", due.window_start, 0, due.impressions, due.ends_at
FROM unnest($1::uuid[]) AS v (user_key) CROSS JOIN due
"""
"""A row for every viewer, campaign and window, with nothing counted yet, so that the books agree."""

ADD_KEY = 'ALTER TABLE frequency_caps ADD PRIMARY KEY (user_key, campaign_id, "window", window_start)'


def viewers_of(rows: int) -> int:
    """How many viewers have so many rows, one for each campaign and window."""
    return rows // (CAMPAIGNS * WINDOWS)


async def fill(database_url: str, secret: str, rows: int) -> None:
    """Makes the rows of viewers u1, u2, ...; the index is made at the end, which takes a tenth of the time."""
    key = hash_key(secret)
    viewers = sorted(user_key(key, f"u{number}") for number in range(1, viewers_of(rows) + 1))
    async with connected(database_url) as connection:
        await connection.execute("SET maintenance_work_mem = '1GB'")
        await connection.execute(DROP_KEY)
        await connection.execute(FILL, viewers)
        await connection.execute(ADD_KEY)
        # In this order every page was logged in full since the checkpoint: what is measured is a server between two
        # checkpoints, and not the seconds after one.
        await connection.execute("CHECKPOINT")
        await connection.execute("VACUUM (ANALYZE) frequency_caps")
