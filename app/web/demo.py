"""The demo page, and `GET /demo/viewer`, which reports on the page's invented viewer."""

from dataclasses import asdict

import orjson
from asyncpg import Connection, Record
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app.errors import InvalidRequest, NotFound
from app.serving import keys
from app.store import demo_content, viewer_history
from app.store.connections import Store
from app.web.pages import page
from app.web.query import read_query

VIEWER_PREFIX = "demo-"
"""Prefix of the demo's user ids; the endpoint reports on no other viewers."""


class DemoEndpoints:
    """Endpoints that exist only if demo content is loaded, and report on demo campaigns alone."""

    def __init__(self, store: Store, hash_key: bytes) -> None:
        self._store = store
        self._hash_key = hash_key

    def routes(self) -> list[BaseRoute]:
        """Return the routes of `/demo` and `/demo/viewer`."""
        return [Route("/demo", self._page), Route("/demo/viewer", self._viewer)]

    async def _page(self, _request: Request) -> Response:
        async with self._store.connection() as connection:
            await _campaigns(connection)
        return page("demo")

    async def _viewer(self, request: Request) -> Response:
        async with self._store.connection() as connection:
            campaigns = await _campaigns(connection)
            values = read_query(request.scope["query_string"])
            user_id, request_id = values.get("user_id", ""), values.get("request_id", "")
            if not user_id.startswith(VIEWER_PREFIX):
                raise InvalidRequest("user_id", f"must start with {VIEWER_PREFIX}")
            user_key = keys.user_key(self._hash_key, user_id)
            request_key = keys.request_key(self._hash_key, request_id)
            body = {
                "caps": await viewer_history.read_cap_counts(connection, user_key, campaigns),
                "serves": [
                    asdict(served) | {"price": str(served.price)}
                    for served in await viewer_history.read_serves(connection, request_key, user_key, campaigns)
                ],
                "beacons": await viewer_history.read_beacons(connection, request_key, user_key, campaigns),
            }
        return Response(orjson.dumps(body), media_type="application/json", headers={"Cache-Control": "no-store"})


async def _campaigns(connection: "Connection[Record]") -> list[str]:
    """Return the ids of the demo campaigns. Raises NotFound if no demo content is loaded."""
    campaigns = await demo_content.find_demo_campaigns(connection)
    if not campaigns:
        raise NotFound("no demo content is loaded")
    return campaigns
