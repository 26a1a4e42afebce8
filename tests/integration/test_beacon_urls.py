from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest
from starlette.applications import Starlette

from app.beacons.lane import BeaconLane
from app.domain import Event
from app.observer import Observer
from app.serving.tokens import TokenSigner
from app.store.connections import Store
from app.store.spending import Payment
from app.web.beacons import GIF, BeaconEndpoints
from tests.integration.serves import add_campaigns, open_store, serve_ads
from tests.web_server import no_client_limits, served

DESTINATION = "https://acme.example/buy?a=b&c=%20d#e"
signer = TokenSigner(["secret"], 3600)


class Observed(Observer):
    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()

    def beacons_handled(self, outcome: str, count: int) -> None:
        self.outcomes[outcome] += count

    def holds_settled(self, charged: int, released: int) -> None:
        self.outcomes["charged"] += charged


@pytest.fixture
async def store(app_database: str) -> AsyncIterator[Store]:
    store = open_store(app_database)
    await add_campaigns(store, ["a"])
    yield store
    await store.close()


@pytest.fixture
def observed() -> Observed:
    return Observed()


@pytest.fixture
async def player(store: Store, observed: Observed) -> AsyncIterator[httpx.AsyncClient]:
    lane = BeaconLane(store, observed, connections=2, queue_max=100, group_max=10)
    lane.start()
    app = Starlette(routes=BeaconEndpoints(signer, lane, no_client_limits(), observed).routes())
    async with served(app) as url, httpx.AsyncClient(base_url=url) as client:
        yield client
    await lane.stop()


async def tokens(store: Store, served_at: datetime | None = None) -> dict[str, str]:
    (payment,) = await serve_ads(store, "a", 1)
    return signer.sign_all(payment.request_key, 0, served_at or datetime.now(UTC), "a")


def click_token(payment: Payment, destination: str) -> str:
    return signer.sign_all(payment.request_key, 0, datetime.now(UTC), "a", destination)["click"]


async def events(database: str) -> list[tuple[str, int | None]]:
    connection = await asyncpg.connect(database)
    rows = await connection.fetch("SELECT event, error_code FROM ad_events ORDER BY received_at")
    await connection.close()
    return [(row["event"], row["error_code"]) for row in rows]


async def test_every_event_is_recorded_once_and_answered_with_a_pixel(
    database: str, store: Store, player: httpx.AsyncClient, observed: Observed
) -> None:
    sent = await tokens(store)
    for event in (*Event, *Event):
        response = await player.get(f"/event/{event}", params={"t": sent[event]})
        assert (response.status_code, response.content) == (200, GIF)
        assert response.headers["content-type"] == "image/gif"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["timing-allow-origin"] == "*"
    assert sorted(await events(database)) == sorted((event.value, None) for event in Event)
    assert observed.outcomes == {"counted": len(Event), "repeat": len(Event), "charged": 1}


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("impression", ""),
        ("impression", "t="),
        ("impression", "t=forged.00"),
        ("impression", "t=%00%ff&t=x"),
        ("start", "t={impression}"),
        ("impression", "t={impression}x"),
        ("impression", "t={expired}"),
        ("nonsense", "t={impression}"),
        ("%F0%9F%92%A9", "t={impression}"),
    ],
)
async def test_a_forged_altered_or_expired_beacon_gets_its_pixel_and_never_counts(
    database: str, store: Store, player: httpx.AsyncClient, observed: Observed, name: str, query: str
) -> None:
    sent = await tokens(store)
    expired = (await tokens(store, datetime.now(UTC) - timedelta(seconds=3601)))["impression"]
    query = query.format(impression=sent["impression"], expired=expired)
    response = await player.get(f"/event/{name}?{query}")
    assert (response.status_code, response.content) == (200, GIF)
    assert await events(database) == []
    assert observed.outcomes == {"refused": 1}


@pytest.mark.parametrize(
    ("code", "recorded"),
    [("402", 402), ("100", 100), ("99", None), ("1000", None), ("[ERRORCODE]", None), ("%5BERRORCODE%5D", None),
     ("٤٠٢", None), ("-12", None), ("", None)],
)  # fmt: skip
async def test_an_error_is_recorded_with_its_code_if_it_is_one(
    database: str, store: Store, player: httpx.AsyncClient, code: str, recorded: int | None
) -> None:
    token = (await tokens(store))["error"]
    await player.get(f"/event/error?t={token}&code={code}")
    assert await events(database) == [("error", recorded)]


async def test_head_and_options_never_count(database: str, store: Store, player: httpx.AsyncClient) -> None:
    sent = await tokens(store)
    (payment,) = await serve_ads(store, "a", 1)
    click = click_token(payment, DESTINATION)
    for path in (f"/event/impression?t={sent['impression']}", f"/click?t={click}"):
        head = await player.head(path)
        assert (head.status_code, head.content) == (302 if "click" in path else 200, b"")
        preflight = await player.options(path, headers={"Origin": "https://player.example"})
        assert preflight.status_code == 204
        assert "GET" in preflight.headers["access-control-allow-methods"]
        refused = await player.put(path)
        allowed = "GET, HEAD, OPTIONS" if "click" in path else "GET, HEAD, POST, OPTIONS"
        assert (refused.status_code, refused.headers["allow"]) == (405, allowed)
    assert (await player.post(f"/click?t={click}")).status_code == 405
    assert await events(database) == []


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", {}),
        (b"sent by navigator.sendBeacon", {"Content-Type": "text/plain;charset=UTF-8"}),
        (b"t=forged", {"Content-Type": "application/x-www-form-urlencoded"}),
        (b"x" * 65_536, {}),
    ],
)
async def test_a_beacon_may_be_posted_whatever_its_body_says(
    database: str, store: Store, player: httpx.AsyncClient, observed: Observed, body: bytes, headers: dict[str, str]
) -> None:
    sent = await tokens(store)
    for _ in range(2):
        path = f"/event/impression?t={sent['impression']}"
        response = await player.post(path, content=body, headers=headers | {"Origin": "https://player.example"})
        assert (response.status_code, response.content) == (200, GIF)
        assert response.headers["access-control-allow-origin"] == "https://player.example"
        assert "connection" not in response.headers
    assert await events(database) == [("impression", None)]
    assert observed.outcomes == {"counted": 1, "repeat": 1, "charged": 1}


async def endless() -> AsyncIterator[bytes]:
    yield b"x" * 10


@pytest.mark.parametrize("body", [b"x" * 65_537, endless()], ids=["long", "of unknown length"])
async def test_no_more_of_a_long_body_is_read_than_its_head(
    database: str, store: Store, player: httpx.AsyncClient, body: bytes | AsyncIterator[bytes]
) -> None:
    sent = await tokens(store)
    response = await player.post(f"/event/start?t={sent['start']}", content=body)
    assert (response.status_code, response.content, response.headers["connection"]) == (200, GIF, "close")
    assert await events(database) == [("start", None)]


async def test_a_click_leads_on_after_its_time_and_is_not_counted(
    database: str, store: Store, player: httpx.AsyncClient, observed: Observed
) -> None:
    (payment,) = await serve_ads(store, "a", 1)
    long_ago = datetime.now(UTC) - timedelta(seconds=3601)
    token = signer.sign_all(payment.request_key, 0, long_ago, "a", DESTINATION)["click"]
    response = await player.get(f"/click?t={token}")
    assert (response.status_code, response.headers["location"]) == (302, DESTINATION)
    assert await events(database) == []
    assert observed.outcomes == {"refused": 1}
    for forged in (token[:-1] + "0", token[:-1] + "1", f"x{token}", token.replace(".", "x.")):
        if forged != token:
            refused = await player.get(f"/click?t={forged}")
            assert (refused.status_code, "location" in refused.headers) == (400, False)


async def test_a_click_redirects_to_its_signed_destination_and_counts_once(
    database: str, store: Store, player: httpx.AsyncClient
) -> None:
    (payment,) = await serve_ads(store, "a", 1)
    token = click_token(payment, DESTINATION)
    for _ in range(3):
        response = await player.get("/click", params={"t": token})
        assert (response.status_code, response.headers["location"]) == (302, DESTINATION)
        assert response.headers["cache-control"] == "no-store"
    assert await events(database) == [("click", None)]


async def test_an_altered_click_token_is_a_problem_and_never_a_redirect(
    database: str, store: Store, player: httpx.AsyncClient
) -> None:
    (payment,) = await serve_ads(store, "a", 1)
    token = click_token(payment, DESTINATION)
    other = click_token(payment, "https://evil.example/")
    swapped = other.partition(".")[0] + "." + token.partition(".")[2]
    leads_nowhere = (await tokens(store))["click"]
    for bad in (
        token[:-1],
        token + "0",
        token[0].swapcase() + token[1:],
        swapped,
        "",
        "https://evil.example/",
        leads_nowhere,
    ):
        response = await player.get("/click", params={"t": bad, "url": "https://evil.example/"})
        assert response.status_code == 400
        assert "location" not in response.headers
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["field"] == "t"
    assert await events(database) == []


@pytest.mark.parametrize(
    ("origin", "allowed"), [("https://player.example", "https://player.example"), ("null", "*"), (None, "*")]
)
async def test_pages_of_every_origin_may_read_the_answer(
    player: httpx.AsyncClient, origin: str | None, allowed: str
) -> None:
    for path in ("/event/impression", "/click"):
        response = await player.get(path, headers={"Origin": origin} if origin else {})
        assert response.headers["access-control-allow-origin"] == allowed
        assert response.headers.get("access-control-allow-credentials") == ("true" if allowed != "*" else None)
        assert response.headers["vary"] == "Origin"
