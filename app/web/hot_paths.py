"""The requests that come by the thousand go straight to their endpoint; everything else takes the router."""

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send


class HotPaths:
    """ASGI middleware. `exact` endpoints go by their path, `prefixed` ones by its beginning up to the second slash.

    What follows the prefix becomes the path parameter of the given name, as the router would have it.
    """

    def __init__(self, app: ASGIApp, exact: Mapping[str, ASGIApp], prefixed: Mapping[str, tuple[str, ASGIApp]]) -> None:
        self._app = app
        self._exact = exact
        self._prefixed = prefixed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Finds the endpoint, and leaves the request to it."""
        endpoint = self._endpoint(scope) if scope["type"] == "http" else None
        await (endpoint or self._app)(scope, receive, send)

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
