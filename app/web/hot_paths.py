"""The requests that come by the thousand go straight to their endpoint; everything else takes the router."""

import asyncio
from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from app.web.direct import DirectEndpoint, DirectRequest, Respond, answered


class HotPaths:
    """ASGI middleware in front of the router; the server's own HTTP protocol passes it by with `endpoint` and `ask`."""

    def __init__(self, app: ASGIApp, endpoints: Mapping[str, DirectEndpoint]) -> None:
        self._app = app
        self._endpoints = endpoints
        self._asked: list[tuple[DirectEndpoint, DirectRequest, Respond]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Finds the endpoint, and leaves the request to it."""
        is_get = scope["type"] == "http" and scope["method"] == "GET"
        endpoint = self.endpoint(scope["path"]) if is_get else None
        if endpoint is None:
            await self._app(scope, receive, send)
        else:
            await answered(endpoint, scope, send)

    def endpoint(self, path: str) -> DirectEndpoint | None:
        """What answers GET on this path, if it is a hot one."""
        return self._endpoints.get(path)

    def ask(self, endpoint: DirectEndpoint, request: DirectRequest, respond: Respond) -> None:
        """Asks the endpoint once everything is read that came in this turn of the event loop.

        An endpoint's code stays in the processor's caches from one request to the next then, and no system call comes
        in between.
        """
        if not self._asked:
            asyncio.get_running_loop().call_soon(self._ask_all)
        self._asked.append((endpoint, request, respond))

    def _ask_all(self) -> None:
        asked, self._asked = self._asked, []
        for endpoint, request, respond in asked:
            endpoint(request, respond)
