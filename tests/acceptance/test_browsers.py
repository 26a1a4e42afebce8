"""How browsers and whatever stands between ask: other origins, HEAD, OPTIONS, compression, measuring pages."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
import pytest

from tests.acceptance.conftest import Databases
from tests.campaigns import own_campaign, placement, set_up
from tests.players import connected, serving

BREAKS = 'ad_breaks = [ { id = "pre", time_offset = "start" }, { id = "mid", time_offset = "50%", pod_size = 4 } ]\n'
ADVERTISERS = ("Acme", "Globex", "Initech", "Umbrella")

AD = {"campaign_id": "acme"}
POD = {"placement_id": "pod", "pod_size": "4"}
NO_AD = {"campaign_id": "acme", "max_duration_s": "1"}
FAULTY = {"campaign_id": "acme", "vast_version": "9"}

ANSWERS = [("/vast", AD), ("/vast", NO_AD), ("/vast", FAULTY), ("/vmap", {"placement_id": "pod"}), ("/vmap", {})]
BEACON = ("/event/start", {"t": "none"})
documents = pytest.mark.parametrize(
    ("path", "asked"), ANSWERS, ids=["ad", "no ad", "faulty", "breaks", "breaks of nothing"]
)


@pytest.fixture(scope="module")
async def player(of_module: Databases) -> AsyncIterator[httpx.AsyncClient]:
    await set_up(
        of_module.owner,
        *(own_campaign(name.lower(), advertiser=name) for name in ADVERTISERS),
        placement("pod", *(name.lower() for name in ADVERTISERS)) + BREAKS,
    )
    async with serving(of_module.app, WORKERS="1") as server, httpx.AsyncClient(base_url=server.url) as client:
        yield client


async def serves(databases: Databases) -> int:
    async with connected(databases.owner) as connection:
        count: int = await connection.fetchval("SELECT count(*) FROM ad_serves")
    return count


@documents
async def test_a_page_of_any_origin_may_read_the_answer_with_its_cookies(
    player: httpx.AsyncClient, path: str, asked: dict[str, str]
) -> None:
    headers = (await player.get(path, params=asked, headers={"Origin": "https://tv.example"})).headers
    assert headers["access-control-allow-origin"] == "https://tv.example"
    assert headers["access-control-allow-credentials"] == "true"
    assert "Origin" in headers["vary"]
    for origin in ({}, {"Origin": "null"}):
        headers = (await player.get(path, params=asked, headers=origin)).headers
        assert headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in headers


@pytest.mark.parametrize("path", ["/vast", "/vmap", "/event/start", "/click"])
async def test_a_preflight_is_answered_and_other_methods_are_not(player: httpx.AsyncClient, path: str) -> None:
    asked = {"Origin": "https://tv.example", "Access-Control-Request-Method": "GET"}
    preflight = await player.options(path, headers=asked)
    assert (preflight.status_code, preflight.content) == (204, b"")
    assert preflight.headers["access-control-allow-origin"] == "https://tv.example"
    assert "GET" in preflight.headers["access-control-allow-methods"]
    assert int(preflight.headers["access-control-max-age"]) > 0
    refused = await player.put(path)
    assert refused.status_code == 405
    posted = {"POST"} if path == "/event/start" else set()
    assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"} | posted


@pytest.mark.parametrize("path", ["/vast", "/vmap", "/event/start", "/click", "/v1/sessions"])
async def test_a_preflight_gets_the_headers_that_libraries_add(player: httpx.AsyncClient, path: str) -> None:
    wanted = "cache-control, traceparent"
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": wanted}
    preflight = await player.options(path, headers={"Origin": "https://tv.example", **asked})
    assert (preflight.status_code, preflight.headers["access-control-allow-headers"]) == (204, wanted)


@pytest.mark.parametrize("path", ["/vast", "/vmap", "/event/start", "/console", "/docs", "/healthz", "/v1/stats"])
async def test_a_slash_at_the_end_changes_nothing_and_redirects_nowhere(player: httpx.AsyncClient, path: str) -> None:
    proxied = {"Host": "ads.example", "X-Forwarded-Proto": "https"}
    plain, slashed = [await player.get(f"{path}{end}?placement_id=pod&t=x", headers=proxied) for end in ("", "/")]
    assert (plain.status_code, "location" in plain.headers) == (200, False)
    assert (slashed.status_code, "location" in slashed.headers) == (200, False)
    assert slashed.headers["content-type"] == plain.headers["content-type"]


@pytest.mark.parametrize("path", ["/nowhere/", "/static/", "/click/", "/v1/sessions/x/"])
async def test_a_slash_behind_what_is_not_there_redirects_nowhere_either(player: httpx.AsyncClient, path: str) -> None:
    answered = await player.get(path, headers={"Host": "ads.example"})
    assert (answered.status_code in (400, 404), "location" in answered.headers) == (True, False)


@pytest.mark.parametrize(("path", "asked"), [("/vast", AD), ("/vmap", {"placement_id": "pod", "embed": "1"})])
async def test_head_says_what_get_would_and_serves_nothing(
    player: httpx.AsyncClient, of_module: Databases, path: str, asked: dict[str, str]
) -> None:
    before = await serves(of_module)
    head = await player.head(path, params=asked)
    assert (head.status_code, head.content) == (200, b"")
    assert await serves(of_module) == before
    get = await player.get(path, params=asked)
    same = ("content-type", "cache-control", "timing-allow-origin", "access-control-allow-origin")
    assert [head.headers[name] for name in same] == [get.headers[name] for name in same]
    assert await serves(of_module) > before


@pytest.mark.parametrize(("path", "asked"), [*ANSWERS[:4], BEACON])
async def test_a_page_may_measure_how_long_it_took_and_nobody_keeps_it(
    player: httpx.AsyncClient, path: str, asked: dict[str, str]
) -> None:
    headers = (await player.get(path, params=asked)).headers
    assert headers["timing-allow-origin"] == "*"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/console", "/static/console.js"])
async def test_a_page_and_its_parts_are_of_one_version(player: httpx.AsyncClient, path: str) -> None:
    answer = await player.get(path)
    assert answer.headers["cache-control"] == "no-cache"
    again = await player.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert again.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(("path", "asked"), [*ANSWERS, BEACON, ("/healthz", {}), ("/nowhere", {})])
async def test_every_answer_says_when_it_was_made(player: httpx.AsyncClient, path: str, asked: dict[str, str]) -> None:
    for method in ("GET", "HEAD"):
        made_at = (await player.request(method, path, params=asked)).headers["date"]
        assert abs(datetime.now(UTC) - parsedate_to_datetime(made_at)) < timedelta(seconds=60)


@pytest.mark.parametrize(
    ("path", "asked"), [("/vast", POD), ("/vmap", {"placement_id": "pod", "embed": "1"})], ids=["pod", "breaks"]
)
async def test_what_is_long_is_compressed_for_who_can_read_it(
    player: httpx.AsyncClient, path: str, asked: dict[str, str]
) -> None:
    packed = await player.get(path, params=asked, headers={"Accept-Encoding": "br, gzip;q=0.5"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "Accept-Encoding" in packed.headers["vary"]
    assert int(packed.headers["content-length"]) < len(packed.content) / 2
    assert packed.text.count("<Ad ") >= 4
    for coding in ("identity", "gzip;q=0", "br, gzip; q=0.000", "br"):
        plain = await player.get(path, params=asked, headers={"Accept-Encoding": coding})
        assert "content-encoding" not in plain.headers
        assert plain.text.count("<Ad ") >= 4


async def test_what_is_short_is_not(player: httpx.AsyncClient) -> None:
    answered = await player.get("/vast", params=AD, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in answered.headers
