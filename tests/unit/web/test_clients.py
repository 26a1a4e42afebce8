"""Whose word on the viewer counts."""

from ipaddress import ip_network

import pytest

from app.web.clients import ClientReader

PROXIES = [ip_network("192.0.2.0/24")]


@pytest.mark.parametrize(
    ("peer", "told", "viewer"),
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
def test_a_viewers_address_is_one_however_it_came(peer: str, told: bytes, viewer: str) -> None:
    assert ClientReader(PROXIES).read(peer, {b"x-forwarded-for": told}) == (viewer, None)
