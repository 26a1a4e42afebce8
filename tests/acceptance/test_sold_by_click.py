"""Clicks and completed views that were sold, over HTTP: the redirect and both kinds of beacon settle them."""

import re
from decimal import Decimal

import httpx
import pytest

from tests.campaigns import own_campaign, set_up
from tests.players import AUTHORIZED, UNHURRIED, connected, disagreements, serving

TRACKED = re.compile(r"(/(?:click|event/\w+)\?t=[^\]]+)\]")
BALANCE = "SELECT spent, held FROM budget_tracking WHERE campaign_id = $1 AND period = 'lifetime'"


def tracked(document: str, path: str) -> str:
    """The URL of the document with this path."""
    (url,) = {url for url in TRACKED.findall(document) if url.startswith(f"{path}?")}
    return url


@pytest.mark.parametrize(
    ("model", "unit", "method", "path"),
    [
        ("cpc", "clicks", "GET", "/click"),
        ("cpcv", "completions", "GET", "/event/complete"),
        ("cpcv", "completions", "POST", "/event/complete"),
    ],
)
async def test_a_sold_event_is_charged_once(
    app_database: str, database: str, model: str, unit: str, method: str, path: str
) -> None:
    terms = {"price": {model: "0.50"}, "budgets": {"lifetime": {"amount": "1", unit: 2}}}
    await set_up(database, own_campaign("sold", **terms) + 'click_through = "https://acme.example/"\n')

    async def balance() -> tuple[Decimal, Decimal]:
        async with connected(database) as connection:
            spent, held = await connection.fetchrow(BALANCE, "sold") or ()
        return spent, held

    async with (
        serving(app_database, **UNHURRIED) as server,
        httpx.AsyncClient(base_url=server.url, timeout=10) as player,
    ):
        document = (await player.get("/vast", params={"campaign_id": "sold"})).text
        assert await balance() == (Decimal(0), Decimal("0.5"))
        assert (await player.get(tracked(document, "/event/impression"))).status_code == 200
        assert (await player.head("/click", params=tracked(document, "/click").partition("?")[2])).status_code == 302
        assert await balance() == (Decimal(0), Decimal("0.5"))
        for _ in range(3):
            answer = await player.request(method, tracked(document, path))
            assert answer.status_code == (302 if path == "/click" else 200)
        assert await balance() == (Decimal("0.5"), Decimal(0))
        assert "x-no-fill-reason" not in (await player.get("/vast", params={"campaign_id": "sold"})).headers
        refused = await player.get("/vast", params={"campaign_id": "sold"})
        assert refused.headers["x-no-fill-reason"] == "budget"
        budget = (await player.get("/v1/campaigns/sold/budget", headers=AUTHORIZED)).json()["periods"][0]
    assert (budget["unit"], budget["impressions"], budget["impressions_limit"]) == (unit, 2, 2)
    assert (budget["spent"], budget["held"]) == ("0.500000", "0.500000")
    assert await disagreements(database) == []
