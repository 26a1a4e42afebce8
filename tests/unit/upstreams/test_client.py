import asyncio
import gzip
import zlib
from ipaddress import ip_network

import httpx
import psutil
import pytest

from app.errors import UpstreamFailed
from app.upstreams.client import FetchLimits, UpstreamClient, _redirected_request
from app.upstreams.failures import NoResponse
from tests.faults import upstream_server as faults
from tests.faults.upstream_server import UpstreamServer, answer, inline
from tests.loop_clock import LoopClock

LIMITS = FetchLimits(timeout_s=5.0, max_body_bytes=100_000, max_redirects=3)


async def get(client: UpstreamClient, url: str, **options: bool) -> bytes:
    return await client.get_tag("primary", url, {}, LIMITS, **options)


async def failure(client: UpstreamClient, url: str) -> UpstreamFailed:
    with pytest.raises(UpstreamFailed) as caught:
        await get(client, url)
    assert caught.value.upstream_id == "primary"
    return caught.value


async def test_gives_the_body_of_a_200(client: UpstreamClient, upstream: UpstreamServer) -> None:
    assert await get(client, upstream.url) == inline()


async def test_keeps_connections_alive(client: UpstreamClient, upstream: UpstreamServer) -> None:
    for _ in range(3):
        await get(client, upstream.url)
    assert [request.connection for request in upstream.requests] == [1, 1, 1]


async def test_fresh_asks_on_a_connection_of_its_own(client: UpstreamClient, upstream: UpstreamServer) -> None:
    await get(client, upstream.url)
    await get(client, upstream.url, new_connection=True)
    await get(client, upstream.url, new_connection=True)
    assert [request.connection for request in upstream.requests] == [1, 2, 3]


@pytest.mark.parametrize(
    "target", ["/a?x=%2F%3a&y=a+b%2B&z=%5BX%5D", "/%7Ea/%2e;c?u=%e4&u=", "/?sig=a%2Fb%3D%3D&url=https%3A%2F%2Fx%2F"]
)
async def test_sends_the_url_as_it_is_written(client: UpstreamClient, upstream: UpstreamServer, target: str) -> None:
    await get(client, upstream.url + target)
    assert upstream.requests[0].target == target


async def test_a_url_without_a_scheme_is_asked_over_http(client: UpstreamClient, upstream: UpstreamServer) -> None:
    assert await get(client, upstream.url.removeprefix("http:")) == inline()


async def test_says_what_it_accepts(client: UpstreamClient, upstream: UpstreamServer) -> None:
    await client.get_tag("primary", upstream.url, {"X-Device-IP": "203.0.113.9"}, LIMITS)
    headers = upstream.requests[0].headers
    assert "xml" in headers["accept"]
    assert headers["accept-encoding"] == "gzip"
    assert headers["x-device-ip"] == "203.0.113.9"


async def test_a_cookie_of_one_viewer_is_not_sent_for_another(client: UpstreamClient, upstream: UpstreamServer) -> None:
    upstream.behavior = answer(inline(), headers=["Set-Cookie: uid=1; Path=/"])
    await get(client, upstream.url)
    await get(client, upstream.url)
    assert "cookie" not in upstream.requests[1].headers


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
async def test_unpacks(client: UpstreamClient, upstream: UpstreamServer, pack: type) -> None:
    coding = "gzip" if pack is gzip.compress else "deflate"
    upstream.behavior = answer(pack(inline()), headers=[f"Content-Encoding: {coding}"])
    assert await get(client, upstream.url) == inline()


@pytest.mark.parametrize("coding", ["", "identity"])
async def test_takes_what_is_not_packed_as_it_is(client: UpstreamClient, upstream: UpstreamServer, coding: str) -> None:
    upstream.behavior = answer(inline(), headers=[f"Content-Encoding: {coding}"])
    assert await get(client, upstream.url) == inline()


@pytest.mark.parametrize(
    ("behavior", "kind"),
    [
        (faults.hang, "timeout"),
        (faults.drip, "timeout"),
        (faults.reset, "reset"),
        (faults.reset_in_body, "reset"),
        (faults.gigabyte, "too_large"),
        (faults.gzip_bomb(), "too_large"),
        (faults.gzip_and_gigabyte, "too_large"),
        (faults.gzip_of_nothing, "too_large"),
        (answer(b" " * 100_001), "too_large"),
        (answer(b"", "500 Internal Server Error"), "status"),
        (answer(inline(), "404 Not Found"), "status"),
        (answer(b"", "204 No Content"), "no_ad"),
        (answer(b" \n"), "no_ad"),
        (answer(b"no gzip", headers=["Content-Encoding: gzip"]), "malformed"),
        (answer(gzip.compress(inline())[:-20], headers=["Content-Encoding: gzip"]), "malformed"),
        (faults.raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "protocol"),
        (faults.raw(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n"), "protocol"),
        (faults.redirect("/again"), "redirects"),
        (faults.redirect("ftp://127.0.0.1/"), "url"),
    ],
)
async def test_names_what_went_wrong(
    loop_clock: LoopClock, client: UpstreamClient, upstream: UpstreamServer, behavior: faults.Behavior, kind: str
) -> None:
    upstream.behavior = behavior
    failing = asyncio.create_task(failure(client, upstream.url))
    await upstream.asked(1)
    if kind == "timeout":
        await loop_clock.advance(LIMITS.timeout_s)
    assert (await failing).kind == kind
    if kind in ("timeout", "reset", "protocol"):
        await upstream.connected(0)


async def test_a_body_of_exactly_the_limit_is_accepted(client: UpstreamClient, upstream: UpstreamServer) -> None:
    upstream.behavior = answer(b"<" * 100_000)
    assert len(await get(client, upstream.url)) == 100_000


async def test_memory_stays_bounded(client: UpstreamClient, upstream: UpstreamServer) -> None:
    bomb = faults.gzip_bomb(1024)
    before = psutil.Process().memory_info().rss
    for behavior in (bomb, faults.gigabyte, faults.gzip_and_gigabyte):
        upstream.behavior = behavior
        results = await asyncio.gather(*(failure(client, upstream.url) for _ in range(20)))
        assert {result.kind for result in results} == {"too_large"}
    await upstream.connected(0)
    assert psutil.Process().memory_info().rss - before < 200 * 2**20


async def test_nobody_listening_is_a_connect_failure_that_may_be_asked_again(client: UpstreamClient) -> None:
    async with UpstreamServer() as gone:
        url = gone.url
    caught = await failure(client, url)
    assert isinstance(caught, NoResponse)
    assert caught.kind == "connect"


@pytest.mark.parametrize(("behavior", "again"), [(faults.reset, True), (faults.reset_in_body, False)])
async def test_only_what_was_not_answered_may_be_asked_again(
    client: UpstreamClient, upstream: UpstreamServer, behavior: faults.Behavior, again: bool
) -> None:
    upstream.behavior = behavior
    assert isinstance(await failure(client, upstream.url), NoResponse) is again
    assert len(upstream.requests) == 1


async def test_a_redirect_is_an_answer_whatever_becomes_of_where_it_leads(
    client: UpstreamClient, upstream: UpstreamServer, fallback: UpstreamServer
) -> None:
    async with UpstreamServer() as gone:
        nowhere = gone.url
    fallback.behavior = faults.reset
    for target, kind in ((nowhere, "connect"), (fallback.url, "reset")):
        upstream.behavior = faults.redirect(target)
        caught = await failure(client, upstream.url)
        assert (caught.kind, isinstance(caught, NoResponse)) == (kind, False)


async def test_a_kept_connection_that_breaks_is_not_asked_twice(
    client: UpstreamClient, upstream: UpstreamServer
) -> None:
    await get(client, upstream.url)
    upstream.behavior = faults.reset
    await failure(client, upstream.url)
    assert len(upstream.requests) == 2


@pytest.mark.parametrize(("redirects", "kind"), [(3, None), (4, "redirects")])
async def test_follows_so_many_redirects_and_no_more(
    client: UpstreamClient, upstream: UpstreamServer, redirects: int, kind: str | None
) -> None:
    async def behave(request: faults.Request, writer: asyncio.StreamWriter) -> None:
        hop = int(request.target.strip("/") or 0)
        behavior = answer(inline()) if hop == redirects else faults.redirect(f"/{hop + 1}")
        await behavior(request, writer)

    upstream.behavior = behave
    if kind is None:
        assert await get(client, upstream.url) == inline()
    else:
        assert (await failure(client, upstream.url)).kind == kind


async def test_a_redirect_to_another_host_must_lead_to_a_public_address(
    client: UpstreamClient, upstream: UpstreamServer
) -> None:
    upstream.behavior = faults.redirect(f"http://localhost:{upstream.port}/")
    assert (await failure(client, upstream.url)).kind == "forbidden_address"
    assert len(upstream.requests) == 1


async def test_the_operator_may_allow_a_network(upstream: UpstreamServer) -> None:
    client = UpstreamClient([ip_network("127.0.0.0/8")])
    assert await client.get_untrusted("primary", upstream.url, {}, LIMITS) == inline()
    await client.aclose()


async def test_cancelling_gives_the_connection_up(client: UpstreamClient, upstream: UpstreamServer) -> None:
    upstream.behavior = faults.hang
    task = asyncio.create_task(get(client, upstream.url))
    await upstream.asked(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await upstream.connected(0)


async def test_a_password_in_the_url_becomes_a_header(client: UpstreamClient, upstream: UpstreamServer) -> None:
    await get(client, upstream.url.replace("http://", "http://user:secret@"))
    assert upstream.requests[0].headers["authorization"].startswith("Basic ")


@pytest.mark.parametrize("path", ["/again", "{url}/again"])
async def test_a_password_goes_along_to_the_same_origin(
    client: UpstreamClient, upstream: UpstreamServer, path: str
) -> None:
    upstream.behavior = faults.redirect(path.format(url=upstream.url))
    await failure(client, upstream.url.replace("http://", "http://user:secret@"))
    assert {request.headers.get("authorization") for request in upstream.requests} == {"Basic dXNlcjpzZWNyZXQ="}


async def test_a_password_does_not_go_along_to_another_origin(
    client: UpstreamClient, upstream: UpstreamServer, fallback: UpstreamServer
) -> None:
    upstream.behavior = faults.redirect(fallback.url)
    assert await get(client, upstream.url.replace("http://", "http://user:secret@")) == inline()
    assert fallback.requests[0].headers["host"] == fallback.url.removeprefix("http://")
    assert "authorization" not in fallback.requests[0].headers


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [("http", "https", True), ("https", "https", True), ("https", "http", False), ("http", "http", True)],
)
def test_a_password_goes_along_to_https_and_never_back(before: str, after: str, kept: bool) -> None:
    request = httpx.Request("GET", f"{before}://ads.example/a", headers={"Authorization": "Basic x"})
    response = httpx.Response(302, headers={"Location": f"{after}://ads.example/b"})
    assert ("authorization" in _redirected_request(request, response).headers) is kept


async def test_a_password_that_a_redirect_names_is_not_sent(client: UpstreamClient, upstream: UpstreamServer) -> None:
    upstream.behavior = faults.redirect(upstream.url.replace("http://", "http://user:secret@"))
    await failure(client, upstream.url)
    assert not any("authorization" in request.headers for request in upstream.requests)
