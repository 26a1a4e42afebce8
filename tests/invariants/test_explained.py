"""`adserver explain` predicts the server's answer to any request in the same state."""

import asyncio
from contextlib import AsyncExitStack
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.domain import NoFillReason
from app.embedded import EmbeddedPostgres
from app.serving.explain import explain
from app.serving.keys import hash_key
from app.serving.outcomes import Served
from app.targeting.viewer import ViewerReader
from app.web.query import ad_request
from tests.campaigns import campaign, creative, placement, set_up
from tests.invariants.world import SECRET, Server, running
from tests.postgres import cloned_database

PAST = {"starts_at": "2020-01-01T00:00:00Z", "ends_at": "2021-01-01T00:00:00Z"}
BUDGETS = [
    {"day": "0"},
    {"day": "0.5"},
    {"lifetime": "5"},
    {"lifetime": {"impressions": 0}},
    {"day": {"impressions": 1}},
]
AGAIN = 2
"""The number of repeats of a request that got an ad, by which caps and budgets are used up."""
EXAMPLES = settings(
    max_examples=40, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
some_campaign = st.fixed_dictionaries(
    {"duration_s": st.sampled_from([10, 15, 30])},
    optional={
        "status": st.sampled_from(["active", "paused"]),
        "flight": st.just(PAST),
        "budgets": st.sampled_from(
            [
                {"day": "0"},
                {"day": "0.5"},
                {"lifetime": "5"},
                {"lifetime": {"impressions": 0}},
                {"day": {"impressions": 1}},
            ]
        ),
        "frequency_caps": st.just([{"impressions": 1, "per": "day"}]),
        "without_user": st.sampled_from(["skip", "serve"]),
        "targeting": st.just({"countries": ["DE"]}),
        "cpm": st.sampled_from(["0", "1000"]),
    },
)
some_request = st.fixed_dictionaries(
    {},
    optional={
        "user_id": st.just("u"),
        "country": st.sampled_from(["DE", "FR"]),
        "min_duration_s": st.sampled_from(["5", "12"]),
        "max_duration_s": st.sampled_from(["12", "20"]),
        "pod_size": st.sampled_from(["1", "2"]),
        "pod_duration_s": st.sampled_from(["12", "20", "40"]),
        "min_ads": st.just("2"),
    },
)
names = count(1)


def in_file(campaign_id: str, values: dict[str, Any]) -> str:
    own = creative(f"{campaign_id}-video", campaign_id).replace(
        "duration_s = 15", f"duration_s = {values['duration_s']}"
    )
    keys = {key: value for key, value in values.items() if key not in ("duration_s", "flight")}
    return campaign(campaign_id, advertiser=campaign_id, direct=True, **keys, **values.get("flight", {})) + own


async def compare(server: Server, request: dict[str, str], ids: list[str], served_before: int = 0) -> None:
    async with server.store.connection() as connection:
        explained = await explain(connection, ad_request(request), hash_key(SECRET), ViewerReader())
    reasons = {verdict.campaign_id: verdict.reason for verdict in explained.verdicts}
    assert list(reasons) == ids
    outcome = await server.ask(**request)
    if isinstance(outcome, Served):
        may_serve = [campaign_id for campaign_id, reason in reasons.items() if reason is None]
        assert outcome.ads[0].campaign_id == may_serve[0], reasons
        if served_before < AGAIN:
            await compare(server, request, ids, served_before + 1)
    else:
        assert None not in reasons.values(), outcome
        assert outcome.reason == reasons[ids[0]]
        assert isinstance(outcome.reason, NoFillReason)


@pytest.mark.timeout(600)
def test_explain_says_what_the_server_answers(postgres: EmbeddedPostgres, migrated_template: str) -> None:
    with asyncio.Runner() as runner:
        opened = AsyncExitStack()
        url = runner.run(opened.enter_async_context(cloned_database(postgres, migrated_template)))
        server = runner.run(opened.enter_async_context(running(url)))

        @settings(
            max_examples=40,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(campaigns=st.lists(some_campaign, min_size=1, max_size=3), request=some_request, by_id=st.booleans())
        def check(campaigns: list[dict[str, Any]], request: dict[str, str], by_id: bool) -> None:
            number = next(names)
            ids = [f"c{number}-{index}" for index in range(len(campaigns))]
            parts = [in_file(campaign_id, values) for campaign_id, values in zip(ids, campaigns, strict=True)]
            runner.run(set_up(url, *parts, placement(f"p{number}", *ids)))
            if by_id:
                runner.run(compare(server, request | {"campaign_id": ids[0]}, ids[:1]))
            else:
                runner.run(compare(server, request | {"placement_id": f"p{number}"}, ids))

        try:
            check()
        finally:
            runner.run(opened.aclose())
