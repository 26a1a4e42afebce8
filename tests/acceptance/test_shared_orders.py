"""Campaigns that share the budget of an order, as players ask for them."""

from collections import Counter

from tests.campaigns import order, own_campaign, set_up
from tests.players import Players, connected, disagreements, serving

ADS = 5
REQUESTS = 20


async def test_players_get_as_many_ads_as_the_order_has_room_for(database: str, app_database: str) -> None:
    terms = {"cpm": "1000", "order": "spring", "budgets": {"lifetime": "1000"}}
    await set_up(database, order("spring", budget=str(ADS)), own_campaign("a", **terms), own_campaign("b", **terms))
    requests = [{"campaign_id": "ab"[index % 2], "user_id": f"u{index}"} for index in range(REQUESTS)]
    async with serving(app_database) as server, Players(server.url) as players:
        answers = await players.ask_all(requests)
    assert Counter(answer.reason for answer in answers) == {None: ADS, "budget": REQUESTS - ADS}
    async with connected(database) as connection:
        assert await connection.fetchval("SELECT spent FROM budget_tracking WHERE order_id = 'spring'") == ADS
    assert await disagreements(database) == []
