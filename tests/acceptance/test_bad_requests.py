"""An invalid request gets a problem with its field and the reason, and is never served."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.acceptance.conftest import Databases
from tests.campaigns import own_campaign, placement, set_up
from tests.players import AUTHORIZED, connected, serving

KNOWN = "campaign_id=known"


@pytest.fixture(scope="module")
async def player(of_module: Databases) -> AsyncIterator[httpx.AsyncClient]:
    await set_up(of_module.owner, own_campaign("known"), placement("preroll", "known"))
    async with serving(of_module.app, WORKERS="1") as server, httpx.AsyncClient(base_url=server.url) as client:
        yield client


@pytest.mark.parametrize(
    ("query", "field", "reason"),
    [
        ("", "campaign_id", "is required unless placement_id is given"),
        ("user_id=u", "campaign_id", "is required unless placement_id is given"),
        ("campaign_id=", "campaign_id", "is required unless placement_id is given"),
        ("campaign_id=known&placement_id=preroll", "campaign_id", "must not be combined with placement_id"),
        ("campaign_id=other", "campaign_id", "unknown campaign_id"),
        ("placement_id=other", "placement_id", "unknown placement_id"),
        ("placement_id=known", "placement_id", "unknown placement_id"),
        ("campaign_id=KNOWN", "campaign_id", "unknown campaign_id"),
        (f"campaign_id={'x' * 129}", "campaign_id", "must not be longer than 128 characters"),
        (f"{KNOWN}&x={'x' * 16_384}", "query", "must not be longer than 16384 bytes"),
        ("campaign_id=a%00b", "campaign_id", "must not have control characters"),
        ("placement_id=a%E2%80%AEb", "placement_id", "must not have control characters"),
        ("campaign_id=%5BCAMPAIGN%5D", "campaign_id", "unknown campaign_id"),
        (f"{KNOWN}&campaign_id=other", "campaign_id", "must not be repeated"),
        (f"{KNOWN}&min_duration_s=9&max_duration_s=8", "min_duration_s", "must not exceed max_duration_s"),
    ],
)
async def test_an_invalid_request_gets_its_field_and_the_reason(
    player: httpx.AsyncClient, query: str, field: str, reason: str
) -> None:
    answer = await player.get(f"/vast?{query}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    problem = answer.json()
    assert problem["field"] == field
    assert problem["reason"].startswith(reason)


@pytest.mark.parametrize(
    "ids",
    [
        *("campaign_id=&campaign_id=known", "campaign_id=known&campaign_id=", f"{KNOWN}&{KNOWN}"),
        *(f"{KNOWN}&placement_id=-1", f"{KNOWN}&placement_id=%5BPLACEMENT%5D", "campaign_id=-1&placement_id=preroll"),
    ],
)
async def test_an_id_may_be_repeated_or_accompanied_by_a_placeholder(player: httpx.AsyncClient, ids: str) -> None:
    answer = await player.get(f"/vast?{ids}&max_duration_s=1")
    assert (answer.status_code, answer.headers["x-no-fill-reason"]) == (200, "no_candidate")


@pytest.mark.parametrize("unknown", ["cb=1&cb=2", "%FF=1", "\u00e4=%FF", "=x", "&&"])
async def test_unknown_parameters_are_ignored(player: httpx.AsyncClient, unknown: str) -> None:
    answer = await player.get(f"/vast?campaign_id=known&max_duration_s=1&{unknown}")
    assert (answer.status_code, answer.headers["x-no-fill-reason"]) == (200, "no_candidate")


async def test_a_request_that_was_refused_left_nothing_behind(player: httpx.AsyncClient, of_module: Databases) -> None:
    named = {"campaign_id": "known", "request_id": "again", "user_id": "u"}
    wrong = {"min_duration_s": "9", "max_duration_s": "8"}
    assert (await player.get("/vast", params=named | wrong)).status_code == 400
    answer = await player.get("/vast", params=named)
    assert answer.status_code == 200
    assert "<Ad" in answer.text
    async with connected(of_module.owner) as connection:
        assert await connection.fetchval("SELECT count(*) FROM ad_serves") == 1


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        ("{", "body", "must be JSON in UTF-8"),
        ("[]", "requests", "must have between 1 and 1000 items"),
        ("{}", "requests", "must be a list of objects"),
        ("[1]", "requests", "must be a list of objects"),
        (f"[{','.join(['{}'] * 1001)}]", "requests", "must have between 1 and 1000 items"),
        (" " * 1_048_577, "body", "must not be longer than 1048576 bytes"),
    ],
)
async def test_an_invalid_batch_is_refused_as_a_whole(
    player: httpx.AsyncClient, body: str, field: str, reason: str
) -> None:
    answer = await player.post("/v1/ads", content=body, headers=AUTHORIZED)
    assert answer.status_code == 400
    assert (answer.json()["field"], answer.json()["reason"]) == (field, reason)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"ttl_s": 0}', "ttl_s"),
        ('{"ttl_s": 86401}', "ttl_s"),
        ('{"ttl_s": true}', "ttl_s"),
        ('{"user_id": 1}', "user_id"),
        ('{"user": "u"}', "user"),
        ("[]", "body"),
    ],
)
async def test_a_bad_session_hears_which_field_is_wrong(player: httpx.AsyncClient, body: str, field: str) -> None:
    answer = await player.post("/v1/sessions", content=body)
    assert answer.status_code == 400
    assert answer.json()["field"] == field
