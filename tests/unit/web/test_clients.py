"""Whose word on the viewer counts."""

from ipaddress import ip_network

import pytest

from app.fast_path import headers_of
from app.web.clients import ClientReader

PROXIES = [ip_network("192.0.2.0/24"), ip_network("2001:db8:ffff::/48")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "viewer"),
    [
        ("192.0.2.1", b"203.0.113.7", "203.0.113.7"),
        ("::ffff:192.0.2.1", b"203.0.113.7", "203.0.113.7"),
        ("192.0.2.1", b"::ffff:203.0.113.7", "203.0.113.7"),
        ("192.0.2.1", b"::FFFF:cb00:7107", "203.0.113.7"),
        ("192.0.2.1", b"2001:db8::7", "2001:db8::7"),
        ("192.0.2.1", b"198.51.100.1, 203.0.113.7:41234", "203.0.113.7"),
        ("192.0.2.1", b"[2001:db8::7]:41234", "2001:db8::7"),
        ("192.0.2.1", b"[2001:db8::7]", "2001:db8::7"),
        ("192.0.2.1", b"203.0.113.7:port", "192.0.2.1"),
        ("::ffff:198.51.100.1", b"203.0.113.7", "198.51.100.1"),
        ("2001:db8::1", b"203.0.113.7", "2001:db8::1"),
    ],
)
def test_a_viewers_address_is_one_however_it_came(peer: str, forwarded: bytes, viewer: str) -> None:
    assert ClientReader(PROXIES).read(peer, {b"x-forwarded-for": forwarded}).address == viewer


@pytest.mark.parametrize(
    ("forwarded", "viewer"),
    [
        (b"203.0.113.7, 192.0.2.9", "203.0.113.7"),
        (b"198.51.100.1, 203.0.113.7, 192.0.2.9, 2001:db8:ffff::1", "203.0.113.7"),
        (b"203.0.113.7:41234,[2001:db8:ffff::1]:443,::ffff:192.0.2.9", "203.0.113.7"),
        (b"203.0.113.7, unknown, 192.0.2.9", "192.0.2.1"),
        (b"192.0.2.7, 192.0.2.9", "192.0.2.7"),
        (b"203.0.113.7" + b", 192.0.2.9" * 20, "203.0.113.7"),
        (b"203.0.113.7" + b", 192.0.2.9" * 5000, "192.0.2.9"),
        (b"", "192.0.2.1"),
        (b",", "192.0.2.1"),
    ],
)
def test_of_several_proxies_in_a_row_the_viewer_is_the_last_address_that_is_none_of_them(
    forwarded: bytes, viewer: str
) -> None:
    assert ClientReader(PROXIES).read("192.0.2.1", {b"x-forwarded-for": forwarded}).address == viewer


def test_a_proxy_may_add_a_line_of_its_own() -> None:
    lines = [(b"x-forwarded-for", b"203.0.113.7"), (b"host", b"a"), (b"x-forwarded-for", b"192.0.2.9")]
    assert ClientReader(PROXIES).read("192.0.2.1", headers_of(lines)).address == "203.0.113.7"


def test_what_a_stitcher_says_of_its_viewer_comes_first() -> None:
    headers = {b"x-device-ip": b"203.0.113.7, 10.0.0.1", b"x-forwarded-for": b"198.51.100.1"}
    assert ClientReader(PROXIES).read("192.0.2.1", headers).address == "203.0.113.7"
    assert ClientReader(PROXIES).read("192.0.2.1", headers | {b"x-device-ip": b"unknown"}).address == "198.51.100.1"


@pytest.mark.parametrize(
    ("peer", "headers", "is_trusted"),
    [
        ("192.0.2.1", {}, True),
        ("192.0.2.1", {b"x-forwarded-for": b"192.0.2.9"}, True),
        ("192.0.2.1", {b"x-forwarded-for": b"203.0.113.7"}, False),
        ("203.0.113.7", {}, False),
        ("203.0.113.7", {b"x-forwarded-for": b"192.0.2.9"}, False),
        (None, {}, False),
    ],
)
def test_a_sender_is_trusted_if_no_stranger_is_behind_the_proxies(
    peer: str | None, headers: dict[bytes, bytes], is_trusted: bool
) -> None:
    assert ClientReader(PROXIES).read(peer, headers).is_trusted is is_trusted
