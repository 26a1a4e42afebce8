"""Cross-origin rules: every page may ask from where it stands, with its cookies and with any headers.

Players need the origin echoed, because `*` and cookies do not go together (Fetch standard, section 3.3.5); a sandboxed
frame says `null`, which must not be echoed.
"""

import re
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Header = tuple[bytes, bytes]

ORIGIN_BYTES_MAX = 300
"""A scheme, a host name of the longest kind and a port fit; anything longer is answered like no origin at all."""

PREFLIGHT_MAX_AGE_S = 86_400

_VARIES: Header = (b"vary", b"Origin")
_EXPOSED: Header = (b"access-control-expose-headers", b"X-Request-Id, X-No-Fill-Reason")
_CREDENTIALS: Header = (b"access-control-allow-credentials", b"true")
_ANYBODY = ((b"access-control-allow-origin", b"*"), _EXPOSED, _VARIES)
_NOBODY = ((b"access-control-allow-origin", b"*"), _VARIES)
"""For who is no page: apps and servers send no Origin, and read no other header of this kind."""
_METHODS: Header = (b"access-control-allow-methods", b"GET, HEAD, POST, DELETE, OPTIONS")
_HEADERS = b"Accept, Content-Type, X-Requested-With"
_ASKED_HEADERS = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, \t-]{1,1024}")
"""Names of headers, separated by commas (RFC 9110 section 5.6.2): none of them is read, so that any may come."""
_MAX_AGE: Header = (b"access-control-max-age", str(PREFLIGHT_MAX_AGE_S).encode())


def cors_headers(origin: bytes | None) -> tuple[Header, ...]:
    """What an answer says to a page of this `Origin`; None and `null` are anybody's, without cookies."""
    if origin is None:
        return _NOBODY
    if origin == b"null" or not 0 < len(origin) <= ORIGIN_BYTES_MAX:
        return _ANYBODY
    return (b"access-control-allow-origin", origin), _CREDENTIALS, _EXPOSED, _VARIES


def preflight_headers(origin: bytes | None, asked: bytes | None) -> tuple[Header, ...]:
    """What the answer to OPTIONS says; `asked` are the headers that the page wants to send, which it gets."""
    allowed = asked if asked is not None and _ASKED_HEADERS.fullmatch(asked) else _HEADERS
    return *cors_headers(origin), _METHODS, (b"access-control-allow-headers", allowed), _MAX_AGE


async def send_preflight(scope: Scope, send: Send) -> None:
    """Answers OPTIONS."""
    asked = _header(scope["headers"], b"access-control-request-headers")
    headers = list(preflight_headers(origin_of(scope["headers"]), asked))
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


class CorsMiddleware:
    """ASGI middleware for routes that pages of other origins use: answers OPTIONS, and adds the headers to the rest."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, unless it is a preflight."""
        origin = origin_of(scope["headers"])
        if scope["method"] == "OPTIONS":
            await send_preflight(scope, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *cors_headers(origin)]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def origin_of(headers: Iterable[Header]) -> bytes | None:
    """The `Origin` that a request names."""
    return _header(headers, b"origin")


def _header(headers: Iterable[Header], wanted: bytes) -> bytes | None:
    return next((value for name, value in headers if name == wanted), None)
