"""Caps of creatives, orders and advertisers, as players meet them."""

from collections import Counter

from tests.campaigns import campaign, creative, order, own_campaign, placement, set_up
from tests.launched import adserver
from tests.players import SECRETS, UNHURRIED, Players, connected, disagreements, serving

REQUESTS = 40


async def ask(players: Players, count: int, **request: str) -> Counter[str | None]:
    answers = await players.ask_all([request] * count)
    return Counter(answer.reason for answer in answers)


async def test_each_creative_is_served_as_often_as_its_cap_allows(database: str, app_database: str) -> None:
    caps = [{"impressions": 2, "per": "day", "level": "creative"}]
    await set_up(
        database,
        own_campaign("a", frequency_caps=caps),
        creative("second", "a"),
        creative("third", "a"),
    )
    async with serving(app_database, WORKERS="2", **UNHURRIED) as server, Players(server.url) as players:
        assert await ask(players, REQUESTS, campaign_id="a", user_id="u") == {None: 6, "frequency_cap": REQUESTS - 6}
    async with connected(database) as connection:
        rows = await connection.fetch("SELECT creative_id, count(*) FROM ad_serves GROUP BY 1 ORDER BY 1")
        assert [tuple(row) for row in rows] == [("a-15s", 2), ("second", 2), ("third", 2)]
    assert await disagreements(database) == []


async def test_the_campaigns_of_an_order_share_its_cap(database: str, app_database: str) -> None:
    caps = [{"impressions": 5, "every": "2 days", "level": "order"}]
    await set_up(
        database,
        order("spring"),
        own_campaign("a", order="spring", frequency_caps=caps, timezone="Asia/Tokyo"),
        own_campaign("b", order="spring"),
        own_campaign("house", advertiser="House"),
        placement("both", "a", "b", "house"),
    )
    async with serving(app_database, WORKERS="2", **UNHURRIED) as server, Players(server.url) as players:
        requests = [{"campaign_id": "ab"[index % 2], "user_id": "u"} for index in range(REQUESTS)]
        answers = await players.ask_all(requests)
        assert Counter(answer.reason for answer in answers) == {None: 5, "frequency_cap": REQUESTS - 5}
        # The placement's next campaign has no cap.
        assert await ask(players, 4, placement_id="both", user_id="u") == {None: 4}
        assert await ask(players, 4, placement_id="both", user_id="v") == {None: 4}
        explained = adserver("explain", "campaign_id=b&user_id=u", DATABASE_URL=database, **SECRETS)
    assert "cap of the order every 2 days: 5 of 5 counted" in explained.stdout
    async with connected(database) as connection:
        query = "SELECT campaign_id, user_key IS NOT NULL, sum(count) FROM frequency_caps GROUP BY 1, 2"
        assert [tuple(row) for row in await connection.fetch(query)] == [(" order spring", True, 9)]
    assert await disagreements(database) == []


async def test_a_pod_counts_each_shared_cap_once(database: str, app_database: str) -> None:
    """Two campaigns that share a row of counts cannot both be counted by one statement."""
    caps = [{"impressions": 1, "per": "day", "level": "advertiser"}]
    await set_up(
        database,
        own_campaign("a", frequency_caps=caps),
        own_campaign("b"),
        own_campaign("c", advertiser="Other"),
        placement("break", "a", "b", "c"),
    )
    request = {"placement_id": "break", "user_id": "u", "pod_size": "3", "competitors": "together"}
    async with serving(app_database) as server, Players(server.url) as players:
        assert (await ask(players, 1, **request)) == {None: 1}
    async with connected(database) as connection:
        served = await connection.fetch("SELECT campaign_id FROM ad_serves ORDER BY 1")
    assert [campaign_id for (campaign_id,) in served] == ["a", "c"]
    assert await disagreements(database) == []


async def test_a_campaign_without_a_user_is_skipped_for_a_cap_that_another_sets(
    database: str, app_database: str
) -> None:
    caps = [{"impressions": 1, "per": "day", "level": "advertiser"}]
    await set_up(
        database,
        own_campaign("a", frequency_caps=caps),
        own_campaign("b"),
        campaign("ended", status="ended"),
    )
    async with serving(app_database) as server, Players(server.url) as players:
        assert await ask(players, 1, campaign_id="b") == {"no_user": 1}
        assert await ask(players, 2, campaign_id="b", user_id="u") == {None: 1, "frequency_cap": 1}
