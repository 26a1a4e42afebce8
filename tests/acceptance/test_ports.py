"""Which port answers what to whom: each path on a server with one port and on one with an admin port."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest

from app.store.demo_content import PUBLISHER_ID
from tests.acceptance.conftest import Databases
from tests.campaigns import own_campaign, placement, publisher, set_up
from tests.launched import Launched, adserver, free_port
from tests.players import serving

LOOPBACK_UNDER_ANOTHER_NAME = "127.1"
"""The server cannot know where a name leads, so to it this is an address that other machines reach."""

STRONG = {"SECRET_KEY": "mKx0b2Q6sYfLw1Tz", "ADMIN_TOKEN": "9vWnR4cH8eUjPq3D"}
BEARER = {"Authorization": f"Bearer {STRONG['ADMIN_TOKEN']}"}

PLAYERS = [
    "GET /vast?placement_id=preroll",
    "GET /vmap?placement_id=preroll",
    "GET /event/impression?t=token",
    "POST /event/impression?t=token",
    "GET /click?t=token",
    "GET /preview?t=token",
    "POST /v1/ads",
    "POST /v1/sessions",
    "GET /v1/sessions/{session_id}",
    "DELETE /v1/sessions/{session_id}",
    "GET /healthz",
    "GET /readyz",
]
FIGURES = ["GET /metrics", "GET /v1/stats", "GET /v1/upstreams/status", "GET /v1/campaigns/own/budget"]
KINDS = ("publishers", "advertisers", "orders", "upstreams", "campaigns", "creatives", "placements", "webhooks")
SETUP = [
    *(f"GET /v1/{kind}" for kind in KINDS),
    *(f"GET /v1/{kind}/any" for kind in KINDS),
    *(f"PUT /v1/{kind}/any" for kind in KINDS),
    "PATCH /v1/campaigns/any",
    "PATCH /v1/creatives/any",
    "POST /v1/creatives/any/preview",
]
PAGES = [
    "GET /console",
    "GET /demo",
    "GET /demo/viewer?user_id=demo-1",
    "GET /docs",
    "GET /openapi.json",
    "GET /static/pages.css",
]
EVERYTHING = [*PLAYERS, *FIGURES, *SETUP, *PAGES]


@dataclass(frozen=True)
class Servers:
    """The base URLs of three servers' ports."""

    loopback: str
    exposed: str
    public: str
    admin: str


@pytest.fixture(scope="module")
async def servers(of_module: Databases) -> AsyncIterator[Servers]:
    await set_up(
        of_module.owner,
        own_campaign("own"),
        publisher("publisher1"),
        publisher(PUBLISHER_ID),
        placement("preroll", "own", publisher_id=PUBLISHER_ID),
    )
    admin_port = free_port()
    async with (
        small(of_module) as loopback,
        small(of_module, HOST=LOOPBACK_UNDER_ANOTHER_NAME) as exposed,
        small(of_module, HOST=LOOPBACK_UNDER_ANOTHER_NAME, ADMIN_PORT=str(admin_port), WORKERS="2") as divided,
    ):
        yield Servers(loopback.url, exposed.url, divided.url, f"http://127.0.0.1:{admin_port}")


@asynccontextmanager
async def small(databases: Databases, **settings: str) -> AsyncIterator[Launched]:
    async with serving(databases.app, **{"WORKERS": "1", **STRONG, **settings}) as server:
        yield server


async def ask(base: str, request: str, headers: dict[str, str] | None = None) -> httpx.Response:
    method, path = request.split()
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=10) as client:
        if "{session_id}" in path:
            session_id = (await client.post("/v1/sessions")).json()["id"]
            path = path.format(session_id=session_id)
        return await client.request(method, path)


@pytest.mark.parametrize("request_line", PLAYERS)
async def test_players_paths_are_on_every_port(servers: Servers, request_line: str) -> None:
    ports = (servers.loopback, servers.exposed, servers.public, servers.admin)
    statuses = {(await ask(base, request_line)).status_code for base in ports}
    assert len(statuses) == 1
    assert 404 not in statuses


@pytest.mark.parametrize("request_line", FIGURES)
async def test_figures_need_the_token_where_other_machines_can_ask(servers: Servers, request_line: str) -> None:
    assert (await ask(servers.loopback, request_line)).status_code == 200
    assert (await ask(servers.exposed, request_line)).status_code == 401
    assert (await ask(servers.exposed, request_line, {"Authorization": "Bearer another"})).status_code == 401
    assert (await ask(servers.exposed, request_line, BEARER)).status_code == 200
    assert (await ask(servers.admin, request_line)).status_code == 200


@pytest.mark.parametrize("request_line", SETUP)
async def test_setting_up_needs_the_token_on_every_port_that_has_it(servers: Servers, request_line: str) -> None:
    for base in (servers.loopback, servers.exposed, servers.admin):
        assert (await ask(base, request_line)).status_code == 401
        assert (await ask(base, request_line, BEARER)).status_code in (200, 404, 415)


@pytest.mark.parametrize("request_line", PAGES)
async def test_pages_hold_no_figures_and_need_no_token(servers: Servers, request_line: str) -> None:
    for base in (servers.loopback, servers.exposed, servers.admin):
        assert (await ask(base, request_line)).status_code == 200


@pytest.mark.parametrize("request_line", [*FIGURES, *SETUP, *PAGES])
async def test_with_an_admin_port_the_public_one_has_players_paths_alone(servers: Servers, request_line: str) -> None:
    for headers in ({}, BEARER, {**BEARER, "Host": servers.admin.removeprefix("http://")}):
        answer = await ask(servers.public, request_line, headers)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_readiness_names_upstreams_and_versions_to_operators_alone(servers: Servers) -> None:
    for base, headers in ((servers.loopback, {}), (servers.exposed, BEARER), (servers.admin, {})):
        assert {"ready", "database", "schema", "schema_needed", "breakers"} == (
            await ask(base, "GET /readyz", headers)
        ).json().keys()
    for base in (servers.exposed, servers.public):
        assert (await ask(base, "GET /readyz")).json() == {"ready": True, "database": "ok"}


async def test_every_path_of_the_api_is_tried_here(servers: Servers) -> None:
    described = (await ask(servers.admin, "GET /openapi.json")).json()["paths"]
    tried = [line.partition("?")[0] for line in EVERYTHING]
    patterns = {
        (method, path): re.compile(f"{method.upper()} {re.sub('{.*?}', '[^/]+', path)}")
        for path, operations in described.items()
        for method in operations
        if method in ("get", "put", "post", "patch", "delete")
    }
    assert [key for key, pattern in patterns.items() if not any(map(pattern.fullmatch, tried))] == []


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"ADMIN_PORT": "0"}, "ADSERVER_ADMIN_PORT: Input should be greater than or equal to 1"),
        ({"ADMIN_PORT": "admin"}, "ADSERVER_ADMIN_PORT: Input should be a valid integer"),
        ({"PORT": "8080", "ADMIN_PORT": "8080"}, "ADSERVER_ADMIN_PORT must differ from ADSERVER_PORT"),
        ({"ADMIN_HOST": "127.0.0.1"}, "ADSERVER_ADMIN_HOST must be set together with ADSERVER_ADMIN_PORT"),
        ({"ADMIN_HOST": "203.0.113.1", "ADMIN_PORT": "8081"}, "cannot listen on 203.0.113.1:8081: "),
    ],
)
def test_an_admin_port_that_cannot_work_is_one_line(
    of_module: Databases, settings: dict[str, str], complaint: str
) -> None:
    refused = adserver("serve", **{"DATABASE_URL": of_module.app, "PORT": str(free_port()), **STRONG, **settings})
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert refused.stderr.startswith(f"adserver: {complaint}")


async def test_no_second_server_takes_the_admin_port(of_module: Databases) -> None:
    admin_port = str(free_port())
    async with small(of_module, ADMIN_PORT=admin_port):
        refused = adserver("serve", DATABASE_URL=of_module.app, PORT=str(free_port()), ADMIN_PORT=admin_port, **STRONG)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"adserver: cannot listen on 127.0.0.1:{admin_port}: ")
