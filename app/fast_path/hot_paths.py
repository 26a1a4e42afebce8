"""Frequent requests go straight to their endpoint; all others take the router."""

import asyncio
from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from app.fast_path.direct_endpoints import DirectEndpoint, DirectRequest, Respond, run_as_asgi


class HotPaths:
    """ASGI middleware in front of the router.

    The HTTP protocol of this package calls `endpoint` and `handle` instead, and bypasses ASGI.
    """

    def __init__(self, app: ASGIApp, endpoints: Mapping[str, DirectEndpoint]) -> None:
        self._app = app
        self._endpoints = endpoints
        self._pending: list[tuple[DirectEndpoint, DirectRequest, Respond]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the endpoint of a hot path, or else the router."""
        is_get = scope["type"] == "http" and scope["method"] == "GET"
        endpoint = self.endpoint(scope["path"]) if is_get else None
        if endpoint is None:
            await self._app(scope, receive, send)
        else:
            await run_as_asgi(endpoint, scope, send)

    def endpoint(self, path: str) -> DirectEndpoint | None:
        """Return the endpoint for GET on this path, or None if the path is not a hot one."""
        return self._endpoints.get(path)

    def handle(self, endpoint: DirectEndpoint, request: DirectRequest, respond: Respond) -> None:
        """Call the endpoint after all requests of this event loop iteration have been read.

        This keeps the endpoint's code in the processor's caches from one request to the next, without a system call in
        between.
        """
        if not self._pending:
            asyncio.get_running_loop().call_soon(self._drain)
        self._pending.append((endpoint, request, respond))

    def _drain(self) -> None:
        pending, self._pending = self._pending, []
        for endpoint, request, respond in pending:
            endpoint(request, respond)
