"""What an upstream's document is read as, when it and its Content-Type differ."""

import pytest
from httpx import Response
from lxml import etree

from app.upstreams.charset import to_utf8
from app.upstreams.client import FetchLimits, UpstreamClient
from tests.faults.upstream_server import UpstreamServer, answer

LATIN_1 = "text/xml; charset=ISO-8859-1"
UTF_8 = "application/xml; charset=utf-8"
TITLE = "Müller"


def document(declaration: str, encoding: str) -> bytes:
    return f"{declaration}<VAST><Ad><Title>{TITLE}</Title></Ad></VAST>".encode(encoding)


def declared(encoding: str) -> str:
    return f"<?xml version='1.0' encoding='{encoding}'?>\n"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (document(declared("utf-16"), "utf-8"), UTF_8),
        (document("", "iso-8859-1"), LATIN_1),
        (document(declared("UTF-8"), "iso-8859-1"), LATIN_1),
        (document(declared("UTF-8"), "windows-1252"), 'text/xml; charset="Windows-1252"'),
    ],
    ids=["labelled UTF-16", "without a declaration", "declared wrongly", "in quotes"],
)
def test_a_document_that_is_not_in_its_own_encoding_is_read_in_the_headers(body: bytes, content_type: str) -> None:
    with pytest.raises(etree.XMLSyntaxError):
        etree.fromstring(body)
    read = to_utf8(body, Response(200, headers={"Content-Type": content_type}))
    assert etree.fromstring(read).findtext("Ad/Title") == TITLE


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (document(declared("UTF-8"), "utf-8"), LATIN_1),
        (document("", "utf-8"), LATIN_1),
        (document(declared("iso-8859-1"), "iso-8859-1"), UTF_8),
        (document(declared("utf-16"), "utf-16"), UTF_8),
        (document("", "utf-8-sig"), LATIN_1),
        (document(declared("Shift_JIS").replace(TITLE, "x"), "utf-8").replace(TITLE.encode(), b"\x83A"), LATIN_1),
        (b"<VAST>\xff</VAST>", "text/xml; charset=punycode"),
        (b"<VAST>\xff</VAST>", "text/xml; charset=utf-8"),
        (b"<VAST>\xff</VAST>", "text/xml"),
    ],
    ids=[
        *("a header nobody changed", "the same without a declaration", "declared rightly", "UTF-16", "a UTF-8 mark"),
        *("an encoding of its own", "no encoding", "neither", "no header"),
    ],
)
def test_any_other_document_stays_as_it_is(body: bytes, content_type: str) -> None:
    assert to_utf8(body, Response(200, headers={"Content-Type": content_type})) == body


async def test_a_document_labelled_utf_16_by_its_server_comes_in_utf_8(
    client: UpstreamClient, upstream: UpstreamServer
) -> None:
    upstream.behavior = answer(document(declared("utf-16"), "utf-8"), headers=[f"Content-Type: {UTF_8}"])
    body = await client.get_tag(
        "primary", upstream.url, {}, FetchLimits(timeout_s=5, max_body_bytes=1000, max_redirects=0)
    )
    assert body == document(declared("UTF-8"), "utf-8")
