"""The requests that come by the thousand go straight to their endpoint; everything else takes the router."""

from collections.abc import Mapping
from contextlib import suppress

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from app.web.problems import problem

log = structlog.get_logger()


class HotPaths:
    """ASGI middleware. `exact` endpoints go by their path, `prefixed` ones by its beginning up to the second slash.

    What follows the prefix becomes the path parameter of the given name, as the router would have it.
    """

    def __init__(self, app: ASGIApp, exact: Mapping[str, ASGIApp], prefixed: Mapping[str, tuple[str, ASGIApp]]) -> None:
        self._app = app
        self._exact = exact
        self._prefixed = prefixed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Finds the endpoint; an error that it did not expect becomes a problem, as elsewhere."""
        endpoint = self._endpoint(scope) if scope["type"] == "http" else None
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        try:
            await endpoint(scope, receive, send)
        except Exception:
            log.exception("request failed", path=scope["path"])
            # A server does not let an answer begin twice, and closes the connection of one that has no end.
            with suppress(RuntimeError):
                await problem(500, "something went wrong here")(scope, receive, send)

    def _endpoint(self, scope: Scope) -> ASGIApp | None:
        path: str = scope["path"]
        endpoint = self._exact.get(path)
        if endpoint is not None:
            return endpoint
        cut = path.find("/", 1) + 1
        found = self._prefixed.get(path[:cut]) if cut else None
        if found is None:
            return None
        name, endpoint = found
        scope["path_params"] = {name: path[cut:]}
        return endpoint
