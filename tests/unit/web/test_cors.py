"""Preflights may request any valid header names."""

import pytest

from app.web.cors import preflight_headers

USUAL = b"Accept, Content-Type, X-Requested-With"


@pytest.mark.parametrize(
    ("requested", "allowed"),
    [
        (b"cache-control, traceparent", b"cache-control, traceparent"),
        (b"cache-control,expires,pragma,x-b3-traceid", b"cache-control,expires,pragma,x-b3-traceid"),
        (b"x" * 1024, b"x" * 1024),
        (b"x" * 1025, USUAL),
        (b"x\r\nSet-Cookie: a", USUAL),
        (b"x; y", USUAL),
        (b"x\xff", USUAL),
        (b"", USUAL),
        (None, USUAL),
    ],
)
def test_a_preflight_gets_the_headers_that_it_asks_for(requested: bytes | None, allowed: bytes) -> None:
    headers = dict(preflight_headers(b"https://page.example", requested))
    assert headers[b"access-control-allow-headers"] == allowed
    assert headers[b"access-control-allow-origin"] == b"https://page.example"
    assert headers[b"access-control-allow-credentials"] == b"true"


def test_a_page_without_an_origin_still_gets_no_credentials() -> None:
    assert b"access-control-allow-credentials" not in dict(preflight_headers(b"null", b"traceparent"))
