"""The admin API over HTTP, with the rights that the server has in its database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import httpx
import orjson
import pytest
import structlog
from starlette.applications import Starlette

from app.beacons.settlement import settle
from app.campaign_file.campaign_admin import CampaignAdminService
from app.errors import AdServerError
from app.serving.catalogs import CatalogHolder
from app.store.connections import Store
from app.web.admin import CampaignAdminEndpoints
from app.web.ports import OperatorAccess
from app.web.problems import on_error
from tests.integration.accounting.world import beacon, payment, serve
from tests.integration.setup.files import Document, apply_document, campaign, creative, owned
from tests.unit.campaign_file.examples import document
from tests.unit.campaign_file.test_creative_elements import EVERYTHING
from tests.web_server import accepted_token, served

TOKEN = "a-long-admin-token"
MAX_BODY_BYTES = 20_000


@asynccontextmanager
async def served_api(store: Store, token: str) -> AsyncIterator[httpx.AsyncClient]:
    desk = CampaignAdminService(store, await CatalogHolder.open(store))
    admin_token = accepted_token(token)
    figures = OperatorAccess(admin_token, None, beyond_loopback=False)
    routes = CampaignAdminEndpoints(desk, admin_token, figures, MAX_BODY_BYTES).routes()
    app = Starlette(routes=routes, exception_handlers={AdServerError: on_error})
    async with served(app) as url, httpx.AsyncClient(base_url=url) as client:
        yield client


@pytest.fixture
async def api(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the token."""
    async with served_api(store, TOKEN) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield client


async def put(api: httpx.AsyncClient, path: str, entry: Document) -> httpx.Response:
    return await api.put(path, content=orjson.dumps(entry), headers={"Content-Type": "application/json"})


def faults(response: httpx.Response) -> list[tuple[str, str]]:
    assert (response.status_code, response.headers["content-type"]) == (400, "application/problem+json")
    return [(fault["field"], fault["reason"]) for fault in response.json()["faults"]]


async def test_what_a_file_can_say_can_be_put_thing_by_thing(api: httpx.AsyncClient) -> None:
    file = document()
    spring = file["campaigns"][0]
    assert (await put(api, "/v1/campaigns/spring", spring | {"status": "paused"})).status_code == 201
    for kind in ("publishers", "upstreams", "creatives", "campaigns", "placements"):
        for entry in file[kind]:
            answer = await put(api, f"/v1/{kind}/{entry['id']}", entry)
            assert answer.status_code == (200 if entry is spring else 201), answer.text
            assert answer.json() == (await api.get(f"/v1/{kind}/{entry['id']}")).json()
    found = (await api.get("/v1/campaigns/spring")).json()
    assert (found["cpm"], found["budgets"]) == ("2500.00", {"day": "100.00", "lifetime": "1000.00"})
    assert found["frequency_caps"] == [{"impressions": 3, "per": "day"}]
    assert (await api.get("/v1/placements/preroll")).json()["campaigns"] == ["spring", "network"]


async def test_what_the_api_gives_can_be_put_back_and_changes_nothing(api: httpx.AsyncClient, store: Store) -> None:
    applied = await apply_document(store, document())
    for kind in ("publishers", "upstreams", "campaigns", "creatives", "placements"):
        for entry in (await api.get(f"/v1/{kind}")).json()[kind]:
            assert (await put(api, f"/v1/{kind}/{entry['id']}", entry)).json() == entry
    assert (await apply_document(store, document())).revision == applied.revision


async def test_what_a_creative_carries_can_be_put_and_read(api: httpx.AsyncClient, store: Store) -> None:
    await apply_document(store, owned())
    carrying = creative(duration_s=29.97, **EVERYTHING)
    answer = await put(api, "/v1/creatives/spring-15s", carrying)
    assert (answer.status_code, {key: answer.json()[key] for key in EVERYTHING}) == (200, EVERYTHING)
    assert answer.json()["duration_s"] == 29.97
    assert (await api.patch("/v1/creatives/spring-15s", json={"status": "paused"})).status_code == 200
    assert (await api.get("/v1/creatives/spring-15s")).json() == answer.json() | {"status": "paused"}
    wrong = creative(tracking=[{"event": "progress", "url": "https://third.example/"}])
    refused = await put(api, "/v1/creatives/spring-15s", wrong)
    assert faults(refused) == [("tracking[0].offset", "is required for progress")]


async def test_lists_come_in_pages_in_the_order_of_ids(api: httpx.AsyncClient, store: Store) -> None:
    await apply_document(store, {"publishers": [{"id": f"p{number}"} for number in range(5)]})
    pages: list[list[str]] = []
    after: str | None = ""
    while after is not None:
        page = (await api.get("/v1/publishers", params={"limit": 2, "after": after})).json()
        pages.append([entry["id"] for entry in page["publishers"]])
        after = page["next_after"]
    assert pages == [["p0", "p1"], ["p2", "p3"], ["p4"]]


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "ten", "", "9" * 30, "\u0663"])
async def test_a_page_has_a_size(api: httpx.AsyncClient, limit: str) -> None:
    problem = await api.get("/v1/campaigns", params={"limit": limit})
    assert (problem.status_code, problem.json()["field"]) == (400, "limit")


async def test_pausing_resuming_and_ending_a_campaign(api: httpx.AsyncClient, store: Store) -> None:
    await apply_document(store, owned(budgets={"day": "100"}))
    for status in ("paused", "active", "ended"):
        answer = await api.patch("/v1/campaigns/spring", json={"status": status})
        assert (answer.status_code, answer.json()["status"]) == (200, status)
    back = await api.patch("/v1/campaigns/spring", json={"status": "active"})
    assert faults(back) == [("status", "must stay 'ended': an ended campaign cannot be resumed")]
    assert (await api.get("/v1/campaigns/spring")).json()["budgets"] == {"day": "100.00"}


@pytest.mark.parametrize(
    ("body", "field"),
    [({"status": "gone"}, "status"), ({}, "status"), ({"status": 1}, "status"), ({"cpm": "1"}, "cpm")],
)
async def test_only_the_status_can_be_changed_by_itself(
    api: httpx.AsyncClient, store: Store, body: Document, field: str
) -> None:
    await apply_document(store, owned())
    problem = await api.patch("/v1/campaigns/spring", json=body)
    assert (problem.status_code, problem.json()["field"]) == (400, field)


async def test_resuming_a_campaign_that_has_no_ads_is_refused(api: httpx.AsyncClient, store: Store) -> None:
    await apply_document(store, {"campaigns": [campaign(status="paused")]})
    refused = await api.patch("/v1/campaigns/spring", json={"status": "active"})
    assert faults(refused) == [("upstreams", "an active campaign requires upstreams or creatives")]


async def test_every_fault_of_a_body_is_told_with_its_key(api: httpx.AsyncClient) -> None:
    wrong = campaign(cpm="-1", currency="XXX", frequency_caps=[{"impressions": 0, "per": "day"}], color="red")
    answer = await put(api, "/v1/campaigns/spring", wrong)
    assert faults(answer) == [
        ("currency", "must be an ISO 4217 currency code such as USD, got 'XXX'"),
        ("cpm", "must not be negative"),
        ("frequency_caps[0].impressions", "must be at least 1"),
        ("color", "unknown key"),
    ]
    assert (answer.json()["field"], answer.json()["reason"]) == faults(answer)[0]
    assert (await api.get("/v1/campaigns/spring")).status_code == 404


async def test_a_reference_to_nothing_names_its_key(api: httpx.AsyncClient) -> None:
    answer = await put(api, "/v1/creatives/k", creative("k", "nowhere"))
    assert faults(answer) == [("campaign_id", "unknown campaign 'nowhere'")]
    answer = await put(api, "/v1/campaigns/other", campaign("spring"))
    assert faults(answer) == [("id", "must be the id in the URL or left out")]


async def test_a_number_in_json_is_as_exact_as_text(api: httpx.AsyncClient) -> None:
    body = orjson.dumps(campaign(status="paused")).replace(b'"2500"', b"1234567890.123")
    answer = await api.put("/v1/campaigns/spring", content=body, headers={"Content-Type": "application/json"})
    assert answer.json()["cpm"] == "1234567890.123"


async def test_a_budget_lowered_below_what_is_spent_is_noted(api: httpx.AsyncClient, store: Store) -> None:
    await apply_document(store, owned(budgets={"lifetime": "100"}))
    async with store.serving_connection() as connection:
        await serve(connection, [payment("spring", uuid4()) for _ in range(4)])
    answer = await put(api, "/v1/campaigns/spring", campaign(budgets={"lifetime": "5"}))
    assert "below the 10.00 already spent" in orjson.loads(answer.headers["x-notes"])[0]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "must be JSON in UTF-8"),
        (b"{", "must be JSON in UTF-8"),
        (b'{"id": "\xff"}', "must be JSON in UTF-8"),
        (b'{"\\ud800": 1}', "must be JSON in UTF-8"),
        (b"[" * 15_000, "must be JSON in UTF-8"),
        (b"[]", "must be a JSON object"),
        (b'"spring"', "must be a JSON object"),
        (b" " * (MAX_BODY_BYTES + 1), f"must not be longer than {MAX_BODY_BYTES} bytes"),
    ],
)
async def test_a_body_that_cannot_be_read_is_a_clear_problem(api: httpx.AsyncClient, body: bytes, reason: str) -> None:
    problem = await api.put("/v1/campaigns/spring", content=body, headers={"Content-Type": "application/json"})
    assert problem.status_code == 400
    assert (problem.json()["field"], problem.json()["reason"]) == ("body", reason)


async def test_a_number_beyond_all_reckoning_is_a_fault_of_its_key(api: httpx.AsyncClient) -> None:
    body = b'{"max_qps": 1e-99999999999999999999, "tag_url": "http://a.example/"}'
    problem = await api.put("/v1/upstreams/u", content=body, headers={"Content-Type": "application/json"})
    assert problem.status_code == 400
    assert (problem.json()["field"], problem.json()["reason"]) == ("max_qps", "must be an integer")


async def test_a_key_that_stands_in_the_body_twice_is_refused(api: httpx.AsyncClient) -> None:
    body = b'{"tag_url": "http://a.example/", "tag_url": "http://b.example/"}'
    problem = await api.put("/v1/upstreams/u", content=body, headers={"Content-Type": "application/json"})
    assert (problem.json()["field"], problem.json()["reason"]) == ("tag_url", "must not be repeated")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_a_body_of_another_type_is_refused(api: httpx.AsyncClient, content_type: str) -> None:
    problem = await api.put("/v1/upstreams/u", content=b"{}", headers={"Content-Type": content_type})
    assert (problem.status_code, problem.headers["content-type"]) == (415, "application/problem+json")


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", TOKEN])
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH"])
async def test_without_the_token_nothing_is_told_and_nothing_is_changed(
    api: httpx.AsyncClient, method: str, authorization: str
) -> None:
    answer = await api.request(method, "/v1/campaigns/spring", content=b"{}", headers={"Authorization": authorization})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["detail"] == "the admin token is missing or wrong"


async def test_wrong_tokens_leave_few_lines_of_log_that_name_no_token(api: httpx.AsyncClient) -> None:
    with structlog.testing.capture_logs() as lines:
        for number in range(50):
            wrong = {"Authorization": f"Bearer wrong-{number}"}
            assert (await api.get("/v1/campaigns", headers=wrong)).status_code == 401
    assert 1 <= len(lines) < 25
    assert lines[0] == {
        "event": "token_refused",
        "log_level": "warning",
        "network": "127.0.0.0/24",
        "path": "/v1/campaigns",
        "size": 1,
    }
    assert "wrong" not in str(lines)


async def test_every_change_leaves_a_line_of_log_that_says_what_was_changed(api: httpx.AsyncClient) -> None:
    with structlog.testing.capture_logs() as lines:
        await put(api, "/v1/upstreams/primary", {"id": "primary", "tag_url": "https://ads.example/?key=secret"})
        await put(api, "/v1/campaigns/spring", campaign(status="paused", budgets={"day": "1.00"}))
        await put(api, "/v1/campaigns/spring", campaign(status="paused", budgets={"day": "5000.00"}))
        await put(api, "/v1/campaigns/spring", campaign(status="paused", budgets={"day": "5000.00"}))
        await api.patch("/v1/campaigns/spring", json={"status": "ended"})
        await put(api, "/v1/campaigns/spring", campaign(cpm="-1"))
    assert [(line["kind"], line["id"], line["created"]) for line in lines] == [
        ("upstreams", "primary", True),
        ("campaigns", "spring", True),
        ("campaigns", "spring", False),
        ("campaigns", "spring", False),
    ]
    assert lines[2]["changes"] == {"budgets": [{"day": "1.00"}, {"day": "5000.00"}]}
    assert lines[3]["changes"] == {"status": ["paused", "ended"]}
    assert "secret" not in str(lines)


async def test_without_a_token_in_the_settings_the_api_is_off(store: Store) -> None:
    async with served_api(store, "") as client:
        for authorization in ("", "Bearer", "Bearer anything"):
            answer = await client.get("/v1/campaigns", headers={"Authorization": authorization})
            assert (answer.status_code, answer.json()["detail"]) == (
                401,
                "the admin API is disabled because ADSERVER_ADMIN_TOKEN is not set",
            )


async def budget(api: httpx.AsyncClient) -> Document:
    answer = await api.get("/v1/campaigns/spring/budget", headers={"Authorization": ""})
    assert answer.status_code == 200
    read: Document = answer.json()
    return read


async def test_anybody_can_see_what_a_campaign_spent_in_each_period(api: httpx.AsyncClient, store: Store) -> None:
    await apply_document(store, owned(budgets={"lifetime": "1000", "hour": "20"}))
    assert {key: value for key, value in (await budget(api)).items() if key != "periods"} == {
        "campaign_id": "spring",
        "currency": "USD",
        "spent": "0.000000",
        "held": "0.000000",
        "limit": "1000.000000",
        "remaining": "1000.000000",
        "percentage_spent": 0.0,
        "period": "lifetime",
        "period_start": "1970-01-01T00:00:00+00:00",
        "impressions": 0,
        "impressions_limit": None,
        "impressions_remaining": None,
        "unit": "impressions",
    }
    async with store.serving_connection() as connection:
        await serve(connection, [payment("spring", uuid4()) for _ in range(5)])
    lifetime, hour = (await budget(api))["periods"]
    assert (lifetime["period"], hour["period"]) == ("lifetime", "hour")
    assert (lifetime["spent"], lifetime["remaining"], lifetime["percentage_spent"]) == ("12.500000", "987.500000", 1.25)
    assert (hour["spent"], hour["remaining"], hour["percentage_spent"]) == ("12.500000", "7.500000", 62.5)
    assert lifetime["campaign_id"] == hour["campaign_id"] == "spring"


async def test_what_is_held_is_not_spent_and_does_not_remain(api: httpx.AsyncClient, store: Store) -> None:
    await apply_document(store, owned(billing="impression", budgets={"lifetime": "100"}))
    async with store.serving_connection() as connection:
        shown = await serve(connection, [payment("spring", uuid4()) for _ in range(4)])
        await settle(connection, [beacon(shown[0])])
    found = await budget(api)
    assert (found["spent"], found["held"], found["remaining"]) == ("2.500000", "7.500000", "90.000000")
    assert found["percentage_spent"] == 2.5


async def test_a_campaign_without_budgets_has_spent_and_no_limit(api: httpx.AsyncClient, store: Store) -> None:
    await apply_document(store, owned(billing="impression"))
    async with store.serving_connection() as connection:
        shown = await serve(connection, [payment("spring", uuid4()) for _ in range(3)])
        await settle(connection, [beacon(shown[0])])
    assert await budget(api) == {
        "campaign_id": "spring",
        "currency": "USD",
        "spent": "2.500000",
        "held": "5.000000",
        "limit": None,
        "remaining": None,
        "percentage_spent": None,
        "period": None,
        "periods": [],
    }


async def test_more_budgets_are_asked_for_at_once_than_there_are_connections(
    api: httpx.AsyncClient, store: Store
) -> None:
    await apply_document(store, owned(budgets={"lifetime": "100"}))
    _, connections = store.pool_in_use
    requests = [api.get("/v1/campaigns/spring/budget") for _ in range(4 * connections)]
    assert {answer.status_code for answer in await asyncio.gather(*requests)} == {200}


async def test_a_campaign_that_is_not_there_has_no_budget(api: httpx.AsyncClient) -> None:
    answer = await api.get("/v1/campaigns/nowhere/budget")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_a_campaign_set_up_elsewhere_a_moment_ago_is_there(api: httpx.AsyncClient, store: Store) -> None:
    assert (await api.get("/v1/campaigns/spring/budget")).status_code == 404
    await apply_document(store, owned())
    assert (await api.get("/v1/campaigns/spring/budget")).status_code == 200
    assert (await api.get("/v1/campaigns/spring")).status_code == 200
