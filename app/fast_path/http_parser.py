"""httptools' request parser, restricted to HTTP/1.1: an `Upgrade` header is ignored."""

from typing import Protocol
from urllib.parse import quote_from_bytes

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

_ASCII = bytes(range(128))


class ParserConnection(Protocol):
    """The connection whose requests are parsed."""

    parser: HttpRequestParser
    url: bytes
    headers: list[tuple[bytes, bytes]]


def ascii_request_line(data: bytes) -> bytes:
    """Return the first bytes of a request, with those above 127 in its first line percent-encoded.

    Some clients send a URL's text unencoded. RFC 3986 does not allow that, but other servers accept it.
    """
    if data.isascii():
        return data
    line, end, rest = data.partition(b"\n")
    return quote_from_bytes(line, safe=_ASCII).encode() + end + rest


class RequestParser(HttpRequestParser):
    """Ignores `Upgrade` (RFC 9110 section 7.8), which Java's client sends with its first request to offer HTTP/2.

    httptools treats everything after such a head as another protocol, including the request's body. The connection
    therefore ignores the head at first (`_should_upgrade`), and the head is parsed again without that header.
    """

    def __init__(self, connection: ParserConnection) -> None:
        super().__init__(connection)
        # As in uvicorn: data after a request that closes the connection must not spoil that request's response.
        self.set_dangerous_leniencies(lenient_data_after_close=True)
        self._connection = connection

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]
        """Parse more bytes. Raises HttpParserError for invalid HTTP and for CONNECT."""
        try:
            HttpRequestParser.feed_data(self, data)
        except HttpParserUpgrade as upgrade:
            if self.get_method() == b"CONNECT":
                raise HttpParserError("tunnels are not supported") from None
            # The connection passes one head at a time, so this does not recurse further.
            parser = self._connection.parser = RequestParser(self._connection)
            parser.feed_data(self._head() + data[upgrade.args[0] :])

    def _head(self) -> bytes:
        lines = [b"%s %s HTTP/%s" % (self.get_method(), self._connection.url, self.get_http_version().encode())]
        lines += (b"%s: %s" % header for header in self._connection.headers if header[0] != b"upgrade")
        return b"\r\n".join(lines) + b"\r\n\r\n"
