"""Caps and budgets to the last ad, whatever comes at once: with one worker and several, in groups and alone."""

from collections import Counter
from decimal import Decimal

import pytest

from app.embedded import EmbeddedPostgres
from tests.campaigns import campaign, own_campaign, set_up, upstream
from tests.faults.upstream_server import UpstreamServer
from tests.players import UNHURRIED, Players, connected, disagreements, serving

REQUESTS = 5000
ADS = 1000
CAP = 3
BUDGET = {"cpm": "2500", "budgets": {"lifetime": "2500"}}
CAPS = [{"impressions": CAP, "per": "day"}]
# The upstream's server and all players share one core with the test.
PATIENT = {"timeout_ms": 20_000, "max_in_flight": REQUESTS}

SHAPES = [
    pytest.param(1, 1, id="one worker, alone", marks=pytest.mark.slow),
    pytest.param(1, 7, id="one worker, groups of 7", marks=pytest.mark.slow),
    pytest.param(1, 1000, id="one worker, groups of 1000"),
    pytest.param(4, 1, id="four workers, alone", marks=pytest.mark.slow),
    pytest.param(4, 7, id="four workers, groups of 7"),
    pytest.param(4, 1000, id="four workers, groups of 1000", marks=pytest.mark.slow),
]


async def set_up_campaigns(database: str, url: str) -> None:
    await set_up(
        database,
        upstream("network", url, **PATIENT),
        own_campaign("own-capped", frequency_caps=CAPS),
        own_campaign("own-limited", **BUDGET),
        campaign("fetched-capped", frequency_caps=CAPS, upstreams=["network"]),
        campaign("fetched-limited", upstreams=["network"], **BUDGET),
    )


@pytest.mark.parametrize("source", ["own", "fetched"])
@pytest.mark.parametrize(("workers", "group_max"), SHAPES)
async def test_no_cap_and_no_budget_gives_one_ad_too_many_or_too_few(
    postgres: EmbeddedPostgres, database: str, app_database: str, workers: int, group_max: int, source: str
) -> None:
    settings = UNHURRIED | {"WORKERS": str(workers), "GROUP_MAX": str(group_max)}
    async with UpstreamServer() as network:
        await set_up_campaigns(database, network.url)
        async with serving(app_database, **settings) as server, Players(server.url, at_once=REQUESTS) as players:
            one_user = [{"campaign_id": f"{source}-capped", "user_id": "u"}] * REQUESTS
            answers = await players.ask_all(one_user)
            assert Counter(answer.reason for answer in answers) == {None: CAP, "frequency_cap": REQUESTS - CAP}
            many_users = [{"campaign_id": f"{source}-limited", "user_id": f"u{index}"} for index in range(REQUESTS)]
            answers = await players.ask_all(many_users)
            assert Counter(answer.reason for answer in answers) == {None: ADS, "budget": REQUESTS - ADS}
    async with connected(database) as connection:
        spent = await connection.fetchrow(
            'SELECT spent, "limit", impressions FROM budget_tracking WHERE campaign_id = $1', f"{source}-limited"
        )
    assert tuple(spent) == (Decimal(2500), Decimal(2500), ADS)
    assert await disagreements(database) == []
    assert "deadlock detected" not in postgres.log_path.read_text(errors="replace")
