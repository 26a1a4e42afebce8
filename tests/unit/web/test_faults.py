"""After an unexpected error the player still gets a response, and the log has the error."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest
import structlog
from lxml import etree
from starlette.applications import Starlette

from app.domain import AdBreak, AdRequest, Catalog, Client, Event, Placement
from app.errors import StoreUnavailable
from app.observer import Observer
from app.serving.adserver import AdServer
from app.serving.catalogs import CatalogHolder
from app.serving.context import SessionContext
from app.serving.outcomes import Completion, Served
from app.serving.tokens import TokenSigner
from app.store.holds import Beacon
from app.web.ad_requests import AdRequestHandler, MeteredAdRequestHandler
from app.web.batch_ads import BatchAdsEndpoint
from app.web.beacons import GIF, BeaconEndpoints
from app.web.clients import ClientReader
from app.web.players import VastEndpoint
from app.web.vmap import VmapEndpoint
from tests.web_server import accepted_token, no_client_limits

REQUEST = UUID("0198a3f0-0000-7000-8000-000000000001")
FAR_LONGER_S = 20


class BrokenHandler(AdRequestHandler):
    def __init__(self) -> None:
        """It has nothing to serve with."""

    def handle(self, *_: object) -> None:
        raise RuntimeError("a fault")


class FailingHandler(AdRequestHandler):
    def __init__(self) -> None:
        """It takes every request, and ends each with a fault."""

    def handle(self, *arguments: Any) -> None:
        arguments[-1](RuntimeError("a fault"))


class OneBreak(AdServer):
    def __init__(self) -> None:
        """It serves single ads, and has a fault with pods."""

    def submit(self, request: AdRequest, _context: SessionContext, on_done: Completion) -> None:
        if request.pod_size > 1:
            on_done(RuntimeError("a fault"))
        else:
            on_done(Served(REQUEST, datetime.now(UTC), (), vast=b"<VAST version='4.2'><Ad/></VAST>"))


class TwoBreaks(CatalogHolder):
    def __init__(self) -> None:
        """It has a placement, and nowhere to look for others."""
        movie = Placement("movie", "p", (), (AdBreak("mid", "50%", pod_size=2), AdBreak("post", "end")))
        self.current = Catalog(1, None, {}, {}, {}, {"movie": movie}, {})


class NeverReloaded(TwoBreaks):
    async def reload(self, seen: Catalog) -> None:
        await asyncio.Event().wait()


class BrokenCounter:
    def put(self, beacon: Beacon, _counted: Callable[[], None]) -> None:
        raise RuntimeError(f"a fault with {beacon.event}")


class Observed(Observer):
    def __init__(self) -> None:
        self.requests: list[tuple[int, str]] = []

    def request_finished(
        self, request_id: str, status: int, outcome: str, seconds: float, values: Mapping[str, str], client: Client
    ) -> None:
        self.requests.append((status, outcome))

    def beacons_handled(self, outcome: str, count: int) -> None:
        raise AssertionError(f"{count} {outcome}")


@pytest.fixture
def observed() -> Observed:
    return Observed()


def client_of(app: Starlette) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://adserver")


@pytest.mark.parametrize("handler", [BrokenHandler(), FailingHandler()])
async def test_a_fault_while_an_ad_is_decided_is_a_problem_that_is_logged_and_counted(
    observed: Observed, handler: AdRequestHandler
) -> None:
    app = Starlette(routes=VastEndpoint(handler, ClientReader([]), no_client_limits(), observed).routes())
    with structlog.testing.capture_logs() as lines:
        async with client_of(app) as client:
            response = await client.get("/vast?campaign_id=a&request_id=r-1")
    assert (response.status_code, response.headers["content-type"]) == (500, "application/problem+json")
    assert response.headers["x-request-id"] == "r-1"
    assert "a fault" not in response.text
    assert [(line["event"], line["path"], str(line["exc_info"])) for line in lines] == [
        ("request_failed", "/vast", "a fault")
    ]
    assert observed.requests == [(500, "error")]


async def test_a_fault_with_one_break_is_logged_and_counted_and_the_others_are_delivered(observed: Observed) -> None:
    handler = MeteredAdRequestHandler(OneBreak(), lambda _: True, observed)
    app = Starlette(
        routes=VmapEndpoint(handler, TwoBreaks(), ClientReader([]), no_client_limits(), "http://adserver", 1).routes()
    )
    with structlog.testing.capture_logs() as lines:
        async with client_of(app) as client:
            response = await client.get("/vmap?placement_id=movie&embed=1")
    assert response.status_code == 200
    assert [len(list(found.iter("{*}Ad"))) for found in etree.fromstring(response.content)] == [0, 1]
    assert [(line["event"], line["path"]) for line in lines] == [("request_failed", "/vmap")]
    assert observed.requests == [(500, "error"), (200, "served")]


async def test_a_fault_with_one_request_of_a_batch_is_logged_and_counted_and_the_others_are_delivered(
    observed: Observed,
) -> None:
    handler = MeteredAdRequestHandler(OneBreak(), lambda _: True, observed)
    stitchers = BatchAdsEndpoint(handler, ClientReader([]), accepted_token("token"), max_body_bytes=1000, batch_max=3)
    app = Starlette(routes=stitchers.routes())
    requests = [{"campaign_id": "a", "pod_size": pod_size} for pod_size in (1, 2, 1)]
    with structlog.testing.capture_logs() as lines:
        async with client_of(app) as client:
            response = await client.post("/v1/ads", json=requests, headers={"Authorization": "Bearer token"})
    answers = sorted(map(orjson.loads, response.text.splitlines()), key=itemgetter("index"))
    assert [answer["status"] for answer in answers] == [200, 500, 200]
    assert "a fault" not in response.text
    assert [(line["event"], line["path"]) for line in lines] == [("request_failed", "/v1/ads")]
    assert sorted(observed.requests) == [(200, "served"), (200, "served"), (500, "error")]


async def test_an_unknown_placement_is_not_looked_for_longer_than_a_player_waits(observed: Observed) -> None:
    handler = MeteredAdRequestHandler(OneBreak(), lambda _: True, observed)
    app = Starlette(
        routes=VmapEndpoint(
            handler, NeverReloaded(), ClientReader([]), no_client_limits(), "http://adserver", 1
        ).routes()
    )
    async with client_of(app) as client, asyncio.timeout(FAR_LONGER_S):
        with pytest.raises(StoreUnavailable):
            await client.get("/vmap?placement_id=new")


async def test_a_fault_while_a_beacon_is_counted_is_logged_and_the_pixel_is_there(observed: Observed) -> None:
    signer = TokenSigner(["secret"], 3600)
    token = signer.sign_all(REQUEST, 0, datetime.now(UTC), "a")[Event.START]
    app = Starlette(routes=BeaconEndpoints(signer, BrokenCounter(), no_client_limits(), observed).routes())
    with structlog.testing.capture_logs() as lines:
        async with client_of(app) as client:
            response = await client.get(f"/event/start?t={token}")
    assert (response.status_code, response.content) == (200, GIF)
    assert [(line["event"], line["path"]) for line in lines] == [("request_failed", "/event/start")]
