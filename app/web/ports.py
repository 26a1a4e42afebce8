"""Which port serves whom: players' paths are on every port, operators' paths on the admin port where there is one."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.web.bearer_auth import BearerAuth, Handler


class PortRouter:
    """ASGI middleware that gives the public port an application of its own."""

    def __init__(self, everything: ASGIApp, public: ASGIApp, admin_port: int | None) -> None:
        self._everything = everything
        self._public = public
        self._admin_port = admin_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Goes by the port of the socket that accepted the connection, never by what the request says."""
        is_public = scope["type"] == "http" and self._admin_port not in (None, _port(scope))
        await (self._public if is_public else self._everything)(scope, receive, send)


class OperatorAccess:
    """Who may read figures: budgets, metrics, statistics and the state of upstreams.

    On the admin port everybody who reaches it. On a port that players share: everybody if only this machine can
    connect to it, otherwise who sends the admin token.
    """

    def __init__(self, token: BearerAuth, admin_port: int | None, *, beyond_loopback: bool) -> None:
        self._token = token
        self._admin_port = admin_port
        self._beyond_loopback = beyond_loopback

    def is_allowed(self, request: Request) -> bool:
        """Whether the answer to this request may have figures in it."""
        if self._admin_port is not None:
            return self._admin_port == _port(request.scope)
        return not self._beyond_loopback or self._token.is_sent_with(request)

    def protect(self, handler: Handler) -> Handler:
        """The handler, which raises Unauthorized for requests that may not read figures."""

        async def protect(request: Request) -> Response:
            if not self.is_allowed(request):
                self._token.authorize(request)
            return await handler(request)

        return protect


def _port(scope: Scope) -> int | None:
    server = scope.get("server")
    return server[1] if server else None
