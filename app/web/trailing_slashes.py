"""Paths with trailing slashes, which are served like paths without."""

from starlette.types import ASGIApp, Receive, Scope, Send


class TrailingSlashMiddleware:
    """ASGI middleware that removes trailing slashes.

    A redirect would need a scheme and a host, for which a server behind a proxy has no trustworthy source, and a page
    may not follow a redirect from https to http.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and scope["path"].endswith("/"):
            scope = {**scope, "path": scope["path"].rstrip("/") or "/"}
        await self._app(scope, receive, send)
