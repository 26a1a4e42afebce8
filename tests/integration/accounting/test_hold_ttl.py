"""Lifetime of a hold: longer if the ad is not played immediately."""

from datetime import timedelta

import pytest

from tests.campaigns import own_campaign, set_up
from tests.invariants.world import running
from tests.players import connected

WAITS = """
SELECT max(h.expires_at - s.served_at) AS longest, min(h.expires_at - s.served_at) AS shortest
FROM holds h JOIN ad_serves s USING (request_key, slot, served_on)
"""
HOUR, SIX_HOURS, DAY = timedelta(hours=1), timedelta(hours=6), timedelta(days=1)
DEFAULT: dict[str, object] = {}


@pytest.mark.parametrize(
    ("campaign", "request_values", "wait"),
    [
        (DEFAULT, {}, HOUR),
        (DEFAULT, {"pod_size": "2"}, SIX_HOURS),
        (DEFAULT, {"unwrap": "1"}, SIX_HOURS),
        ({"hold_ttl_s": 60}, {}, timedelta(minutes=1)),
        ({"hold_ttl_s": 60}, {"pod_size": "2"}, SIX_HOURS),
        ({"hold_ttl_s": 86_400}, {"unwrap": "1"}, DAY),
    ],
)
async def test_a_hold_waits_as_its_campaign_says_and_six_hours_for_pods_and_stitchers(
    database: str, campaign: dict[str, object], request_values: dict[str, str], wait: timedelta
) -> None:
    await set_up(database, own_campaign("held", billing="impression", **campaign))
    async with running(database) as server:
        await server.served(campaign_id="held", **request_values)
    async with connected(database) as connection:
        row = await connection.fetchrow(WAITS)
    assert row is not None
    assert (row["shortest"], row["longest"]) == (wait, wait)
