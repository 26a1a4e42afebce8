"""`adserver creatives check` against real servers of media files."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import ip_network

import pytest
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from app.creative_check.client import CONNECTIONS_PER_HOST_MAX, REDIRECTS_MAX, FileClient, NoAnswerError
from tests.campaigns import campaign, set_up
from tests.launched import adserver
from tests.web_server import served

LOOPBACK = "127.0.0.0/8"
BITRATE_KBPS = 800
DURATION_S = 15
FILM = bytes(BITRATE_KBPS * 1000 // 8 * DURATION_S)
ANY_PAGE = {"Access-Control-Allow-Origin": "*"}


@dataclass
class MediaServer:
    """Serves films, and keeps what it was asked for."""

    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    together: int = 0
    together_max: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self.asked.append((request.method, request.url.path, request.headers.get("range")))
        self.together += 1
        self.together_max = max(self.together_max, self.together)
        await (await self.answer(request))(scope, receive, send)
        self.together -= 1

    async def answer(self, request: Request) -> Response:
        path = request.url.path
        if path == "/no-head.mp4" and request.method == "HEAD":
            return Response(status_code=405)
        if path == "/no-head.mp4":
            headers = ANY_PAGE | {"Content-Range": f"bytes 0-1023/{len(FILM)}"}
            return Response(FILM[:1024], 206, headers, media_type="video/mp4")
        if path == "/page":
            return Response("<html>", 404, media_type="text/html")
        if path == "/moved.mp4":
            return RedirectResponse("/film.mp4")
        if path == "/loop":
            return RedirectResponse("/loop")
        if path == "/elsewhere":
            return RedirectResponse(str(request.url.replace(hostname="127.0.0.2")))
        if path == "/other-scheme":
            return RedirectResponse("file:///etc/passwd")
        if path == "/silent":
            await self.over.wait()
        return Response(FILM, headers=ANY_PAGE, media_type="video/mp4")


@pytest.fixture
async def media() -> AsyncIterator[tuple[MediaServer, str]]:
    server = MediaServer()
    async with served(server) as url:
        yield server, url
        server.over.set()


def creative(creative_id: str, *urls: str, campaign_id: str = "film", keys: str = "") -> str:
    files = ", ".join(
        f'{{ url = "{url}", type = "video/mp4", width = 640, height = 360, bitrate_kbps = {BITRATE_KBPS} }}'
        for url in urls
    )
    return (
        f'\n[[creatives]]\nid = "{creative_id}"\ncampaign_id = "{campaign_id}"\ntitle = "Film"\n'
        f"duration_s = {DURATION_S}\nmedia_files = [ {files} ]\n{keys}\n"
    )


async def checked(database: str, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    settings = {"ALLOWED_NETWORKS": LOOPBACK} | settings
    return await asyncio.to_thread(
        adserver, "creatives", "check", *arguments, DATABASE_URL=database, SECRET_KEY="a-secret", **settings
    )


async def test_a_check_names_each_file_with_what_players_do_not_take(
    database: str, media: tuple[MediaServer, str]
) -> None:
    server, url = media
    keys = f'click_through = "{url}/page"\nmezzanine_url = "{url}/film.mp4"'
    files = [f"{url}/{name}.mp4" for name in ("film", "moved", "no-head")]
    await set_up(database, campaign("film", status="paused"), creative("acme", *files, keys=keys))
    done = await checked(database, "acme")
    not_https = "    warning: is not https: players on https pages do not load it"
    facts = f"200, video/mp4, {len(FILM):,} bytes"
    assert done.stdout.splitlines() == [
        "acme, campaign film: 1 error, 4 warnings",
        f"  media_files[0] {url}/film.mp4 ({facts})",
        not_https,
        f"  media_files[1] {url}/moved.mp4 ({facts})",
        not_https,
        "    warning: is redirected before the ad can play (1 times)",
        f"  media_files[2] {url}/no-head.mp4 (206, video/mp4, {len(FILM):,} bytes)",
        not_https,
        f"  mezzanine_url {url}/film.mp4 ({facts})",
        f"  click_through {url}/page (404, text/html, 6 bytes)",
        "    error: is answered with status 404",
        "1 creative checked: 1 error, 4 warnings",
    ]
    assert (done.returncode, done.stderr) == (1, "")
    assert [path for method, path, _ in server.asked if method == "HEAD" and path == "/film.mp4"] == ["/film.mp4"] * 2
    assert ("GET", "/no-head.mp4", "bytes=0-1023") in server.asked


async def test_warnings_alone_are_no_failure(database: str, media: tuple[MediaServer, str]) -> None:
    _, url = media
    await set_up(database, campaign("film", status="paused"), creative("acme", f"{url}/film.mp4"))
    done = await checked(database, "acme")
    assert done.stdout.splitlines()[-1] == "1 creative checked: 0 errors, 1 warning"
    assert done.returncode == 0


async def test_all_creatives_that_may_be_served_are_checked_a_few_at_a_time(
    database: str, media: tuple[MediaServer, str]
) -> None:
    server, url = media
    await set_up(
        database,
        campaign("film", status="paused"),
        campaign("over", status="paused"),
        *(creative(f"acme-{index:02}", f"{url}/film.mp4?{index}") for index in range(40)),
        creative("archived", f"{url}/archived.mp4", keys='status = "archived"'),
        creative("of-over", f"{url}/over.mp4", campaign_id="over"),
    )
    await set_up(database, campaign("over", status="ended"))
    done = await checked(database, "--all")
    lines = done.stdout.splitlines()
    names = [f"acme-{index:02}, campaign film: 0 errors, 1 warning" for index in range(40)]
    assert [line for line in lines if not line.startswith(" ")] == [
        *names,
        "40 creatives checked: 0 errors, 40 warnings",
    ]
    assert {path for _, path, _ in server.asked} == {"/film.mp4"}
    assert server.together_max <= CONNECTIONS_PER_HOST_MAX
    done = await checked(database, "--all", "--after", "acme-37")
    assert done.stdout.splitlines()[-1] == "2 creatives checked: 0 errors, 2 warnings"


async def test_no_private_network_is_reached_unless_the_operator_allows_it(
    database: str, media: tuple[MediaServer, str]
) -> None:
    server, url = media
    port = url.rpartition(":")[2]
    hosts = ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0")
    files = [f"http://{host}:{port}/film.mp4" for host in hosts]
    await set_up(database, campaign("film", status="paused"), creative("acme", *files))
    done = await checked(database, "acme", ALLOWED_NETWORKS="")
    refused = "    error: leads to an address that is not a public address, and not in ADSERVER_ALLOWED_NETWORKS"
    assert done.stdout.splitlines().count(refused) == len(hosts)
    assert (done.returncode, server.asked) == (1, [])


async def test_a_redirect_cannot_lead_to_an_address_that_is_not_allowed(media: tuple[MediaServer, str]) -> None:
    server, url = media
    client = FileClient([ip_network("127.0.0.1/32")])
    with pytest.raises(NoAnswerError, match="not a public address"):
        await client.ask(f"{url}/elsewhere")
    with pytest.raises(NoAnswerError, match="redirects to a URL that is not http or https"):
        await client.ask(f"{url}/other-scheme")
    await client.aclose()
    assert {path for _, path, _ in server.asked} == {"/elsewhere", "/other-scheme"}


async def test_a_check_ends_however_a_server_behaves(media: tuple[MediaServer, str]) -> None:
    server, url = media
    client = FileClient([ip_network(LOOPBACK)], timeout_s=1)
    with pytest.raises(NoAnswerError, match=f"redirects more than {REDIRECTS_MAX} times"):
        await client.ask(f"{url}/loop")
    assert len(server.asked) == REDIRECTS_MAX + 1
    with pytest.raises(NoAnswerError, match="does not answer within 1 s"):
        await client.ask(f"{url}/silent")
    with pytest.raises(NoAnswerError, match="cannot be asked: ConnectionRefusedError"):
        await client.ask("http://127.0.0.1:1/film.mp4")
    with pytest.raises(NoAnswerError, match="has a host name that cannot be resolved"):
        await client.ask("http://nothing.invalid/film.mp4")
    with pytest.raises(NoAnswerError, match="is not a valid URL"):
        await client.ask(url.replace("127.0.0.1", "2130706433"))
    with pytest.raises(NoAnswerError, match="TLS"):
        await client.ask(url.replace("http://", "https://"))
    await client.aclose()


async def test_a_check_says_what_it_needs(database: str) -> None:
    for arguments in ((), ("acme", "--all")):
        done = await checked(database, *arguments)
        complaint = "adserver: creative_id: is required unless --all is given\n"
        assert (done.returncode, done.stdout, done.stderr) == (2, "", complaint)
    done = await checked(database, "acme")
    assert (done.returncode, done.stderr) == (1, "adserver: unknown creative id\n")
    done = await checked(database, "--all")
    assert (done.returncode, done.stdout) == (0, "0 creatives checked: no faults\n")
