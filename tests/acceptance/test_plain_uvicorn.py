"""The application on plain uvicorn (httptools and asyncio, no fast path): the same answers as `adserver serve`.

Both servers have the same content in databases of their own, and are sent the same requests in the same order. Signed
tokens carry the time, and generated ids are random; all other bytes must be equal.
"""

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import pytest
from sqlalchemy.engine import make_url

from app.embedded import EmbeddedPostgres
from app.store.roles import APP
from tests.acceptance.conftest import Databases
from tests.campaigns import campaign, own_campaign, placement, publisher, set_up, upstream
from tests.faults.upstream_server import UpstreamServer, answer, inline
from tests.launched import ADSERVER, Launched, free_port
from tests.players import AUTHORIZED, SECRETS, becomes, connected, disagreements, serving
from tests.postgres import cloned_database

PUBLIC_URL = "http://ads.example"
ORIGIN = {"Origin": "https://page.example"}
PREFLIGHT = {**ORIGIN, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "X-Requested-With"}
FIRST_ID, SECOND_ID = "01890a5d-ac96-774b-bcce-b302099a8057", "01890a5d-ac96-774b-bcce-b302099a8058"
PAST = {"starts_at": "2020-01-01T00:00:00Z", "ends_at": "2020-01-02T00:00:00Z"}

TOKEN = re.compile(rb"([?&]t=|%3Ft%3D)[\w.~-]+")
UUID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
PER_SERVER = {"date", "server"}
"""Headers of the HTTP server, not of the application."""

Request = tuple[str, str, dict[str, Any]]
"""Method, path, and options of httpx."""


def get(path: str, **headers: str) -> Request:
    return "GET", path, {"headers": headers}


ADS: list[Request] = [
    get(f"/vast?campaign_id=own&user_id=u&request_id={FIRST_ID}"),
    get(f"/vast?campaign_id=own&user_id=u&request_id={FIRST_ID}"),
    get(f"/vast?placement_id=preroll&user_id=u&request_id={SECOND_ID}&vast_version=3.0", **ORIGIN),
    get("/vast?campaign_id=own&request_id=gzip", **{"Accept-Encoding": "gzip"}),
    get("/vast?campaign_id=own&request_id=cookie", Cookie="uid=viewer", **{"Sec-GPC": "1"}),
    get("/vast?campaign_id=fetched&request_id=fetched"),
    get("/vast?campaign_id=own"),
    get("/vast/?campaign_id=own&request_id=slash"),
]
NO_FILLS: list[Request] = [
    *(get(f"/vast?campaign_id=capped&user_id=u&request_id=capped{index}") for index in range(2)),
    *(get(f"/vast?campaign_id=spent&request_id=spent{index}") for index in range(2)),
    *(get(f"/vast?campaign_id={name}&request_id={name}") for name in ("past", "paused", "targeted")),
    get("/vast?campaign_id=capped&request_id=nobody"),
    get("/vast?campaign_id=own&max_duration_s=1&request_id=short", **ORIGIN),
    *(get(f"/vast?placement_id=limited&request_id=limited{index}") for index in range(2)),
]
BAD: list[Request] = [
    get("/vast"),
    get("/vast?campaign_id=unknown&request_id=r"),
    get("/vast?campaign_id=own&min_duration_s=9&max_duration_s=8&request_id=r", **ORIGIN),
    get(f"/vast?campaign_id={'x' * 129}"),
    get("/vmap"),
    get("/click?t=forged"),
    get("/nowhere"),
    get("/v1/campaigns"),
    get("/v1/campaigns/unknown/budget"),
    get("/v1/sessions/unknown"),
    ("PUT", "/v1/campaigns/new", {"headers": AUTHORIZED, "json": {"id": "new"}}),
]
METHODS: list[Request] = [
    *((method, path, {}) for method in ("HEAD", "POST", "DELETE") for path in ("/vast", "/event/start", "/click")),
    *(("OPTIONS", path, {"headers": PREFLIGHT}) for path in ("/vast", "/event/start", "/v1/sessions")),
]
BATCHES: list[Request] = [
    ("POST", "/v1/ads", {"headers": AUTHORIZED, "json": {"requests": [{"campaign_id": "own", "request_id": "b0"}]}}),
    ("POST", "/v1/ads", {"headers": AUTHORIZED, "json": {"requests": [{"campaign_id": "unknown"}]}}),
    ("POST", "/v1/ads", {"headers": AUTHORIZED, "content": b"{"}),
    ("POST", "/v1/ads", {"json": {"requests": []}}),
]
PAGES: list[Request] = [
    *(
        get(path)
        for path in ("/healthz", "/readyz", "/vmap?placement_id=preroll", "/openapi.json", "/docs", "/console")
    ),
    get("/v1/campaigns", **AUTHORIZED),
    get("/v1/campaigns/own/budget"),
]


@dataclass
class Server:
    """One running server, its database, and a connection to it."""

    client: httpx.AsyncClient
    database: Databases
    answers: list[httpx.Response] = field(default_factory=list)

    async def send(self, request: Request) -> httpx.Response:
        method, path, options = request
        return await self.client.request(method, path, **options)


@dataclass
class Pair:
    """The fast and the plain server."""

    fast: Server
    plain: Server

    async def send(self, request: Request) -> tuple[httpx.Response, httpx.Response]:
        return await self.fast.send(request), await self.plain.send(request)


@pytest.fixture(scope="module")
async def pair(postgres: EmbeddedPostgres, migrated_template: str) -> AsyncIterator[Pair]:
    async with UpstreamServer(answer(inline("from upstream"))) as network, AsyncExitStack() as stack:
        servers = []
        for start in (fast_server, plain_server):
            owner = await stack.enter_async_context(cloned_database(postgres, migrated_template))
            databases = Databases(owner, postgres.url(make_url(owner).database or "", APP))
            await set_up(owner, *content(network.url))
            launched = await stack.enter_async_context(start(databases))
            client = await stack.enter_async_context(httpx.AsyncClient(base_url=launched.url, timeout=10))
            servers.append(Server(client, databases))
        yield Pair(*servers)


def content(network_url: str) -> list[str]:
    return [
        upstream("network", network_url, timeout_ms=5000),
        publisher("publisher1"),
        publisher("limited", requests_per_s=1, burst=1),
        own_campaign("own", cpm="1000", billing="impression"),
        own_campaign("capped", frequency_caps=[{"impressions": 1, "per": "day"}]),
        own_campaign("spent", cpm="1000", budgets={"lifetime": "1"}),
        own_campaign("past", **PAST),
        own_campaign("paused", status="paused"),
        own_campaign("targeted", targeting={"countries": ["NZ"]}),
        campaign("fetched", upstreams=["network"]),
        placement("preroll", "capped", "own"),
        placement("limited", "own", publisher_id="limited"),
    ]


@asynccontextmanager
async def fast_server(databases: Databases) -> AsyncIterator[Launched]:
    async with serving(databases.app, WORKERS="1", PUBLIC_URL=PUBLIC_URL) as launched:
        yield launched


@asynccontextmanager
async def plain_server(databases: Databases) -> AsyncIterator[Launched]:
    """`uvicorn app.main:create_app`, as somebody would start it who knows nothing of this server."""
    port = free_port()
    arguments = ["app.main:create_app", "--factory", "--http=httptools", "--loop=asyncio", f"--port={port}"]
    settings = {"DATABASE_URL": databases.app, "PUBLIC_URL": PUBLIC_URL, "WORKERS": "1", **SECRETS}
    with (
        tempfile.TemporaryDirectory() as folder,
        Launched(*arguments, port=port, program=ADSERVER.with_name("uvicorn"), DATA_DIR=folder, **settings) as launched,
    ):
        await asyncio.to_thread(launched.wait_for, "Uvicorn running on")
        yield launched


def comparable(response: httpx.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body without signed tokens and generated ids."""
    headers = [(name, plain_text(value.encode()).decode()) for name, value in response.headers.items()]
    return response.status_code, sorted(h for h in headers if h[0] not in PER_SERVER), plain_text(response.content)


def plain_text(text: bytes) -> bytes:
    return UUID.sub(b"<id>", TOKEN.sub(rb"\1<token>", text))


def assert_same(answers: tuple[httpx.Response, httpx.Response]) -> None:
    fast, plain = answers
    assert comparable(plain) == comparable(fast)


@pytest.mark.parametrize("requests", [ADS, NO_FILLS, BAD, METHODS, BATCHES, PAGES], ids=lambda _: "")
async def test_both_servers_give_the_same_answers(pair: Pair, requests: list[Request]) -> None:
    for request in requests:
        assert_same(await pair.send(request))


async def test_one_of_them_has_the_fast_path(pair: Pair) -> None:
    fast, plain = await pair.send(get("/healthz"))
    assert ("server" in fast.headers, plain.headers["server"]) == (False, "uvicorn")


async def test_both_serve_ads_and_give_reasons_and_problems(pair: Pair) -> None:
    """The comparison above would hold for two servers that answer nothing but errors."""
    for server in (pair.fast, pair.plain):
        ads = [await server.send(request) for request in ADS]
        assert [(ad.status_code, b"<Ad " in ad.content) for ad in ads] == [(200, True)] * len(ADS)
        assert ads[0].content == ads[1].content
        reasons = [(await server.send(request)).headers.get("x-no-fill-reason") for request in NO_FILLS[4:9]]
        assert reasons == ["flight", "paused", "targeting", "no_user", "no_candidate"]
        for request in BAD:
            problem = await server.send(request)
            assert 400 <= problem.status_code < 500
            assert problem.headers["content-type"] == "application/problem+json"
            assert problem.json()["status"] == problem.status_code


async def test_both_count_beacons_once_and_redirect_clicks(pair: Pair) -> None:
    for server in (pair.fast, pair.plain):
        document = (await server.send(get("/vast?campaign_id=own&request_id=beacons"))).text
        paths = [url.removeprefix(PUBLIC_URL) for url in re.findall(r"http://ads\.example/event/[^\]<]+", document)]
        impression, start = (next(path for path in paths if f"/{name}?" in path) for name in ("impression", "start"))
        pixels = [await server.send(get(impression)) for _ in range(2)]
        pixels.append(await server.send(("POST", start, {"content": b"ping"})))
        pixels.append(await server.send(get("/event/start?t=forged", **ORIGIN)))
        server.answers = pixels
        assert [(pixel.status_code, pixel.headers["content-type"]) for pixel in pixels] == [(200, "image/gif")] * 4
        await becomes(partial(beacons_are, server.database.owner, {"impression": 1, "start": 1}))
        assert await spent(server.database.owner) == 1
    for answers in zip(pair.fast.answers, pair.plain.answers, strict=True):
        assert_same(answers)


async def test_both_keep_viewing_sessions(pair: Pair) -> None:
    async def use(server: Server) -> list[httpx.Response]:
        created = await server.send(("POST", "/v1/sessions", {"json": {"user_id": "viewer", "ttl_s": 60}}))
        path = f"/v1/sessions/{created.json()['id']}"
        ad = get(f"/vast?campaign_id=own&session_id={created.json()['id']}&request_id=session")
        return [created, *[await server.send(request) for request in (ad, get(path), ("DELETE", path, {}), get(path))]]

    fast, plain = await use(pair.fast), await use(pair.plain)
    assert [response.status_code for response in plain] == [201, 200, 200, 204, 410]
    for answers in zip(fast, plain, strict=True):
        (status, headers, body), (plain_status, plain_headers, plain_body) = map(comparable, answers)
        assert (plain_status, without_length(plain_headers)) == (status, without_length(headers))
        assert without_own_values(plain_body) == without_own_values(body)


async def test_the_books_of_both_agree(pair: Pair) -> None:
    for server in (pair.fast, pair.plain):
        assert await disagreements(server.database.owner) == []


def without_length(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Headers without Content-Length: a time may be written with fewer digits."""
    return [(name, value) for name, value in headers if name != "content-length"]


def without_own_values(body: bytes) -> bytes:
    """A session without its times and its random correlator."""
    return re.sub(rb"\d{4}-\d\d-\d\dT[\d:.]+\+00:00|\d{16}", b"<own>", body)


async def beacons_are(database: str, wanted: dict[str, int]) -> bool:
    async with connected(database) as connection:
        rows = await connection.fetch("SELECT event, count(*) AS count FROM ad_events GROUP BY event")
    return {row["event"]: row["count"] for row in rows} == wanted


async def spent(database: str) -> int:
    async with connected(database) as connection:
        amount = await connection.fetchval("SELECT sum(amount) FROM spend_ledger WHERE campaign_id = 'own'")
    return int(amount)
