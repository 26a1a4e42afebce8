"""Ports and operators: with an admin port, the public port serves the paths of players alone."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.web.bearer_auth import BearerAuth, Handler


class PortRouter:
    """ASGI middleware that routes requests to the public port to an application of their own."""

    def __init__(self, complete: ASGIApp, public: ASGIApp, admin_port: int | None) -> None:
        self._complete = complete
        self._public = public
        self._admin_port = admin_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Choose by the port of the socket that accepted the connection, never by a header."""
        is_public = scope["type"] == "http" and self._admin_port not in (None, _port(scope))
        await (self._public if is_public else self._complete)(scope, receive, send)


class OperatorAccess:
    """Access to operational data: budgets, metrics, statistics and the state of upstreams.

    On the admin port every client has access. On a port shared with players every client has access if only this
    machine can connect to it; otherwise the request needs the admin token.
    """

    def __init__(self, admin: BearerAuth, admin_port: int | None, *, beyond_loopback: bool) -> None:
        self._admin = admin
        self._admin_port = admin_port
        self._beyond_loopback = beyond_loopback

    def is_allowed(self, request: Request) -> bool:
        """Return whether the response to this request may contain operational data."""
        if self._admin_port is not None:
            return self._admin_port == _port(request.scope)
        return not self._beyond_loopback or self._admin.accepts(request)

    def protect(self, handler: Handler) -> Handler:
        """Return the handler with a check that raises Unauthorized for requests without access."""

        async def checked(request: Request) -> Response:
            if not self.is_allowed(request):
                self._admin.authorize(request)
            return await handler(request)

        return checked


def _port(scope: Scope) -> int | None:
    server = scope.get("server")
    return server[1] if server else None
