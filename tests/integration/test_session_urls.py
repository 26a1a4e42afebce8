from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from uuid import uuid4

import asyncpg
import httpx
import pytest
from starlette.applications import Starlette

from app.errors import AdServerError
from app.serving.keys import hash_key, user_key
from app.serving.viewing_sessions import ViewingSessions
from app.web.problems import on_error
from app.web.sessions import SessionEndpoints
from tests.integration.serves import open_store
from tests.web_server import no_client_limits, served

HASH_KEY = hash_key("secret")


@pytest.fixture
async def page(app_database: str) -> AsyncIterator[httpx.AsyncClient]:
    store = open_store(app_database)
    app = Starlette(
        routes=SessionEndpoints(ViewingSessions(store, HASH_KEY, 1000), no_client_limits()).routes(),
        exception_handlers={AdServerError: on_error},
    )
    async with served(app) as url, httpx.AsyncClient(base_url=url, headers={"Origin": "https://tv.example"}) as client:
        yield client
    await store.close()


async def test_a_session_is_made_found_ended_and_then_gone(page: httpx.AsyncClient) -> None:
    made = await page.post("/v1/sessions", json={"user_id": "u1", "publisher_id": "p1", "ttl_s": 60})
    assert made.status_code == 201
    session = made.json()
    assert made.headers["location"] == f"/v1/sessions/{session['id']}"
    lasts = datetime.fromisoformat(session["expires_at"]) - datetime.fromisoformat(session["created_at"])
    assert lasts == timedelta(seconds=60)
    found = await page.get(made.headers["location"])
    assert (found.status_code, found.json()) == (200, session)
    assert (await page.delete(made.headers["location"])).status_code == 204
    for gone in (await page.get(made.headers["location"]), await page.delete(made.headers["location"])):
        assert (gone.status_code, gone.headers["content-type"]) == (410, "application/problem+json")
        assert gone.headers["access-control-allow-origin"] == "https://tv.example"


async def test_a_session_that_has_expired_is_gone(page: httpx.AsyncClient, database: str) -> None:
    session_id = (await page.post("/v1/sessions", json={"ttl_s": 86_400})).json()["id"]
    connection = await asyncpg.connect(database)
    await connection.execute("UPDATE sessions SET expires_at = now() - interval '1 microsecond'")
    await connection.close()
    assert (await page.get(f"/v1/sessions/{session_id}")).status_code == 410


@pytest.mark.parametrize("session_id", [str(uuid4()), "nonsense", "%00", "0" * 500])
async def test_a_session_that_never_was_is_not_found(page: httpx.AsyncClient, session_id: str) -> None:
    for response in (await page.get(f"/v1/sessions/{session_id}"), await page.delete(f"/v1/sessions/{session_id}")):
        assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")


async def test_no_raw_id_of_a_viewer_is_stored_and_the_user_counts_before_the_device(
    page: httpx.AsyncClient, database: str
) -> None:
    await page.post("/v1/sessions", json={"user_id": "viewer-7", "device_id": "tv-9"})
    connection = await asyncpg.connect(database)
    row = await connection.fetchrow("SELECT *, sessions::text AS everything FROM sessions")
    await connection.close()
    assert row["user_key"] == user_key(HASH_KEY, "viewer-7")
    assert "viewer-7" not in row["everything"]
    assert "tv-9" not in row["everything"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("[]", "body"),
        ("{", "body"),
        ('{"ttl_s": 60, "a": "\xff"}'.encode("latin-1"), "body"),
        (" " * 5000, "body"),
        ('{"ttl_s": 0}', "ttl_s"),
        ('{"ttl_s": 86401}', "ttl_s"),
        ('{"ttl_s": 1.5}', "ttl_s"),
        ('{"ttl_s": "60"}', "ttl_s"),
        ('{"ttl_s": true}', "ttl_s"),
        ('{"ttl_s": null}', "ttl_s"),
        ('{"user_id": 7}', "user_id"),
        ('{"publisher_id": ["p"]}', "publisher_id"),
        ('{"user": "u1"}', "user"),
    ],
)
async def test_bad_input_is_refused_with_its_field_and_reason(
    page: httpx.AsyncClient, body: str | bytes, field: str
) -> None:
    response = await page.post("/v1/sessions", content=body)
    assert response.status_code == 400
    problem = response.json()
    assert problem["field"] == field
    assert problem["reason"]


async def test_a_page_of_another_origin_may_ask(page: httpx.AsyncClient) -> None:
    for path in ("/v1/sessions", f"/v1/sessions/{uuid4()}"):
        preflight = await page.options(path, headers={"Access-Control-Request-Method": "POST"})
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == "https://tv.example"
        assert {"POST", "DELETE"} <= set(preflight.headers["access-control-allow-methods"].split(", "))
        assert "Content-Type" in preflight.headers["access-control-allow-headers"]
