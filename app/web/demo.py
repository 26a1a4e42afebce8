"""What the demo page asks about the viewer that it made up: `GET /demo/viewer`."""

from dataclasses import asdict

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app.errors import InvalidRequest
from app.serving import keys
from app.store import viewers
from app.store.connections import Store
from app.web.query import read_query

VIEWER_PREFIX = "demo-"
"""The demo's viewers are called so; nobody is told anything of other viewers."""


class Demo:
    """The demo page's view of a viewer."""

    def __init__(self, store: Store, hash_key: bytes) -> None:
        self._store = store
        self._hash_key = hash_key

    def routes(self) -> list[BaseRoute]:
        """`/demo/viewer`."""
        return [Route("/demo/viewer", self._viewer)]

    async def _viewer(self, request: Request) -> Response:
        values = read_query(request.scope["query_string"])
        user_id, request_id = values.get("user_id", ""), values.get("request_id", "")
        if not user_id.startswith(VIEWER_PREFIX):
            raise InvalidRequest("user_id", f"must begin with {VIEWER_PREFIX}")
        user_key = keys.user_key(self._hash_key, user_id)
        request_key = keys.request_key(self._hash_key, request_id)
        async with self._store.connection() as connection:
            body = {
                "caps": await viewers.counts(connection, user_key),
                "serves": [
                    asdict(served) | {"price": str(served.price)}
                    for served in await viewers.serves(connection, request_key, user_key)
                ],
                "beacons": await viewers.beacons(connection, request_key, user_key),
            }
        return Response(orjson.dumps(body), media_type="application/json", headers={"Cache-Control": "no-store"})
