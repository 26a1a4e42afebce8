"""The admin token, which operators send as `Authorization: Bearer TOKEN`."""

import hmac
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from app.errors import Unauthorized

Handler = Callable[[Request], Awaitable[Response]]


class AdminToken:
    """The server's admin token; an empty one authorizes nobody."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def is_sent_with(self, request: Request) -> bool:
        """Whether the request carries the token."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        is_bearer = scheme.lower() == "bearer"
        return is_bearer and bool(self._token) and hmac.compare_digest(token.strip().encode(), self._token)

    def authorize(self, request: Request) -> None:
        """Raises Unauthorized unless the request carries the token."""
        if not self._token:
            raise Unauthorized("the admin API is off, because no ADSERVER_ADMIN_TOKEN is set")
        if not self.is_sent_with(request):
            raise Unauthorized("the admin token is missing or wrong")

    def guarded(self, handler: Handler) -> Handler:
        """The handler, which only requests with the token reach."""

        async def guarded(request: Request) -> Response:
            self.authorize(request)
            return await handler(request)

        return guarded
