"""httptools' parser of requests, which stays with HTTP/1.1 whatever a client proposes."""

from typing import Protocol
from urllib.parse import quote_from_bytes

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

_ASCII = bytes(range(128))


class Connection(Protocol):
    """What hears of the requests."""

    parser: HttpRequestParser
    url: bytes
    headers: list[tuple[bytes, bytes]]


def ascii_request_line(data: bytes) -> bytes:
    """What comes first on a connection, with the bytes above 127 of its first line percent-encoded.

    Some clients send a URL's text as it is. That is no URL by RFC 3986, but what other servers read.
    """
    if data.isascii():
        return data
    line, end, rest = data.partition(b"\n")
    return quote_from_bytes(line, safe=_ASCII).encode() + end + rest


class RequestParser(HttpRequestParser):
    """Passes over `Upgrade` (RFC 9110 section 7.8), which Java's client sends with its first request, for HTTP/2.

    httptools takes what comes after such a head for another protocol, the request's body too. So the connection lets
    such a head pass (`_should_upgrade`), and it is read again without the proposal.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        # As uvicorn has it: requests behind one that closes the connection do not spoil its answer.
        self.set_dangerous_leniencies(lenient_data_after_close=True)
        self._connection = connection

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]
        """Reads on; raises HttpParserError for what is no HTTP, or would be a tunnel."""
        try:
            HttpRequestParser.feed_data(self, data)
        except HttpParserUpgrade as upgrade:
            if self.get_method() == b"CONNECT":
                raise HttpParserError("no tunnels") from None
            # The connection hands over one head at a time: this goes no deeper.
            parser = self._connection.parser = RequestParser(self._connection)
            parser.feed_data(self._head() + data[upgrade.args[0] :])

    def _head(self) -> bytes:
        lines = [b"%s %s HTTP/%s" % (self.get_method(), self._connection.url, self.get_http_version().encode())]
        lines += (b"%s: %s" % header for header in self._connection.headers if header[0] != b"upgrade")
        return b"\r\n".join(lines) + b"\r\n\r\n"
