"""Cross-origin rules: a page of any origin may send requests, with cookies and any headers.

The origin is echoed, because `*` excludes cookies (Fetch standard, section 3.3.5). The origin of a sandboxed frame is
`null`, which must not be echoed.
"""

import re
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Header = tuple[bytes, bytes]

ORIGIN_BYTES_MAX = 300
"""Enough for a scheme, the longest host name and a port; a longer origin is not echoed."""

PREFLIGHT_MAX_AGE_S = 86_400

_VARIES: Header = (b"vary", b"Origin")
_EXPOSED: Header = (b"access-control-expose-headers", b"X-Request-Id, X-No-Fill-Reason")
_CREDENTIALS: Header = (b"access-control-allow-credentials", b"true")
_ANY_ORIGIN = ((b"access-control-allow-origin", b"*"), _EXPOSED, _VARIES)
_NO_ORIGIN = ((b"access-control-allow-origin", b"*"), _VARIES)
"""For apps and servers, which send no Origin and read no other CORS header."""
_METHODS: Header = (b"access-control-allow-methods", b"GET, HEAD, POST, DELETE, OPTIONS")
_DEFAULT_HEADERS = b"Accept, Content-Type, X-Requested-With"
_HEADER_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, \t-]{1,1024}")
"""A list of header names (RFC 9110 section 5.6.2). The server reads none of them, so any are allowed."""
_MAX_AGE: Header = (b"access-control-max-age", str(PREFLIGHT_MAX_AGE_S).encode())


def cors_headers(origin: bytes | None) -> tuple[Header, ...]:
    """Return the headers of a response to a page of this `Origin`; None and `null` exclude cookies."""
    if origin is None:
        return _NO_ORIGIN
    if origin == b"null" or not 0 < len(origin) <= ORIGIN_BYTES_MAX:
        return _ANY_ORIGIN
    return (b"access-control-allow-origin", origin), _CREDENTIALS, _EXPOSED, _VARIES


def preflight_headers(origin: bytes | None, requested: bytes | None) -> tuple[Header, ...]:
    """Return the headers of a response to OPTIONS, which allow the header names that the page requested."""
    allowed = requested if requested is not None and _HEADER_NAMES.fullmatch(requested) else _DEFAULT_HEADERS
    return *cors_headers(origin), _METHODS, (b"access-control-allow-headers", allowed), _MAX_AGE


async def send_preflight(scope: Scope, send: Send) -> None:
    """Respond to OPTIONS."""
    requested = _header(scope["headers"], b"access-control-request-headers")
    headers = list(preflight_headers(origin_of(scope["headers"]), requested))
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


class CorsMiddleware:
    """ASGI middleware for pages of other origins: responds to OPTIONS, and adds CORS headers to other responses."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, unless it is a preflight."""
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
    """Return a request's `Origin` header."""
    return _header(headers, b"origin")


def _header(headers: Iterable[Header], wanted: bytes) -> bytes | None:
    return next((value for name, value in headers if name == wanted), None)
