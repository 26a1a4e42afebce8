import asyncio
import socket
from ipaddress import ip_address, ip_network

import pytest

from app.errors import UpstreamFailed
from app.upstreams.addresses import ForbiddenAddressError, guarded_socket_factory, is_forbidden
from app.upstreams.client import FetchLimits, UpstreamClient
from tests.faults import upstream_server as faults
from tests.faults.upstream_server import UpstreamServer

LIMITS = FetchLimits(timeout_s=5.0, max_body_bytes=100_000, max_redirects=3)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "2001:db8::1",
        "fec0::1",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b:1::169.254.169.254",
        "100::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::169.254.169.254",
        "2002:7f00:1::",
        "2002:a00:1::",
    ],
)
def test_not_public(address: str) -> None:
    assert is_forbidden(ip_address(address), ())


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
)
def test_public(address: str) -> None:
    assert not is_forbidden(ip_address(address), ())


def test_the_operator_may_allow_networks() -> None:
    allowed = [ip_network("10.1.0.0/16"), ip_network("fd00::/8")]
    assert not is_forbidden(ip_address("10.1.2.3"), allowed)
    assert not is_forbidden(ip_address("::ffff:10.1.2.3"), allowed)
    assert not is_forbidden(ip_address("fd00::1"), allowed)
    assert is_forbidden(ip_address("10.2.0.1"), allowed)


def test_no_socket_is_made_for_a_scoped_link_local_address() -> None:
    make_socket = guarded_socket_factory(())
    with pytest.raises(ForbiddenAddressError):
        make_socket((socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1%eth0", 80, 0, 0)))
    make_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 80))).close()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
    ],
)
async def test_untrusted_urls_do_not_reach_this_machine(
    client: UpstreamClient, upstream: UpstreamServer, host: str
) -> None:
    with pytest.raises(UpstreamFailed) as caught:
        await client.get_untrusted("primary", f"http://{host}:{upstream.port}/", {}, LIMITS)
    assert caught.value.kind in ("forbidden_address", "url", "protocol")
    assert not upstream.requests


async def test_redirects_of_untrusted_urls_do_not_reach_this_machine(upstream: UpstreamServer) -> None:
    client = UpstreamClient([ip_network("127.0.0.0/30")])
    upstream.behavior = faults.redirect("http://127.9.9.9:1/")
    with pytest.raises(UpstreamFailed, match="forbidden_address"):
        await client.get_untrusted("primary", upstream.url, {}, LIMITS)
    assert len(upstream.requests) == 1
    await client.aclose()


async def test_a_name_is_checked_where_the_connection_is_made(
    client: UpstreamClient, upstream: UpstreamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that was public a moment ago, and resolves to this machine now."""
    answers = iter(["8.8.8.8", "127.0.0.1"])
    loop = asyncio.get_running_loop()

    async def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    assert (await loop.getaddrinfo("rebinding.example", upstream.port))[0]
    with pytest.raises(UpstreamFailed, match="forbidden_address"):
        await client.get_untrusted("primary", f"http://rebinding.example:{upstream.port}/", {}, LIMITS)
    assert not upstream.requests


async def test_one_public_address_of_a_name_does_not_open_its_others(
    client: UpstreamClient, upstream: UpstreamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        private = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        mapped = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::ffff:127.0.0.1", port, 0, 0))
        return [mapped, private]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(UpstreamFailed, match="forbidden_address"):
        await client.get_untrusted("primary", f"http://many.example:{upstream.port}/", {}, LIMITS)
    assert not upstream.requests


def resolves(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Every name is at the next of these addresses each time it is resolved, and stays at the last."""
    left = list(addresses)

    async def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        address = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("new_connection", [False, True])
@pytest.mark.parametrize("host", ["ads.example", "localhost"])
async def test_the_name_of_a_tag_does_not_lead_to_this_machine(
    client: UpstreamClient,
    upstream: UpstreamServer,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    *,
    new_connection: bool,
) -> None:
    resolves(monkeypatch, "127.0.0.1")
    with pytest.raises(UpstreamFailed, match="ADSERVER_ALLOWED_NETWORKS") as caught:
        await client.get_tag("primary", f"http://{host}:{upstream.port}/", {}, LIMITS, new_connection=new_connection)
    assert caught.value.kind == "forbidden_address"
    assert not upstream.requests


async def test_the_name_of_a_tag_is_checked_with_every_connection(
    upstream: UpstreamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = UpstreamClient([ip_network("127.0.0.1/32")])
    url = f"http://rebinding.example:{upstream.port}/"
    resolves(monkeypatch, "127.0.0.1", "127.0.0.2")
    monkeypatch.setattr("app.upstreams.transport.DNS_CACHE_S", 0)
    await client.get_tag("primary", url, {}, LIMITS, new_connection=True)
    with pytest.raises(UpstreamFailed, match="forbidden_address"):
        await client.get_tag("primary", url, {}, LIMITS, new_connection=True)
    assert len(upstream.requests) == 1
    await client.aclose()


@pytest.mark.parametrize("new_connection", [False, True])
async def test_a_tag_with_an_ip_address_is_trusted(
    client: UpstreamClient, upstream: UpstreamServer, *, new_connection: bool
) -> None:
    await client.get_tag("primary", upstream.url, {}, LIMITS, new_connection=new_connection)
    assert len(upstream.requests) == 1


async def test_a_redirect_of_a_trusted_tag_to_a_host_name_is_checked(
    client: UpstreamClient, upstream: UpstreamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolves(monkeypatch, "127.0.0.1")
    upstream.behavior = faults.redirect(f"http://ads.example:{upstream.port}/")
    with pytest.raises(UpstreamFailed, match="forbidden_address"):
        await client.get_tag("primary", upstream.url, {}, LIMITS)
    assert len(upstream.requests) == 1
