"""Viewing sessions: `POST /v1/sessions` creates one, ad requests name it in `session_id`, `DELETE` ends it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import orjson
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app.errors import InvalidRequest, NotFound
from app.fast_path import headers_of
from app.serving.viewing_sessions import ViewerIds, ViewingSessions
from app.store.sessions import SessionRow
from app.web.bodies import read_object
from app.web.client_limits import SESSION_COST, ClientLimits
from app.web.clients import opts_out
from app.web.cors import CorsMiddleware
from app.web.parameters import read_parameter

BODY_BYTES_MAX = 4096
TTL_DEFAULT_S = 14_400
TTL_MAX_S = 86_400

VIEWER_KEYS = ("user_id", "device_id", "publisher_id")


class SessionEndpoints:
    """Endpoints for viewing sessions, for pages of every origin."""

    def __init__(self, viewing: ViewingSessions, client_limits: ClientLimits) -> None:
        self._viewing = viewing
        self._client_limits = client_limits

    def routes(self) -> list[BaseRoute]:
        """Return the routes of `/v1/sessions` and `/v1/sessions/{id}`."""
        cors = [Middleware(CorsMiddleware)]
        return [
            Route("/v1/sessions", self._create, methods=["POST", "OPTIONS"], middleware=cors),
            Route("/v1/sessions/{id}", self._item, methods=["GET", "DELETE", "OPTIONS"], middleware=cors),
        ]

    async def _create(self, request: Request) -> Response:
        self._client_limits.check("new_session", request.scope, SESSION_COST)
        body = await read_object(request, BODY_BYTES_MAX)
        viewer = _viewer(body)
        if opts_out(headers_of(request.scope["headers"])):
            viewer = replace(viewer, user_id=None, device_id=None)
        session = await self._viewing.create(viewer, _ttl_s(body))
        response = _session_response(session, 201)
        response.headers["Location"] = f"/v1/sessions/{session.id}"
        return response

    async def _item(self, request: Request) -> Response:
        self._client_limits.check("session", request.scope)
        session_id = _session_id(request)
        if request.method == "DELETE":
            await self._viewing.end(session_id)
            return Response(status_code=204)
        return _session_response(await self._viewing.get(session_id), 200)


def _viewer(body: Mapping[str, Any]) -> ViewerIds:
    for name, value in body.items():
        if name not in (*VIEWER_KEYS, "ttl_s"):
            raise InvalidRequest(name, "unknown field")
        if name in VIEWER_KEYS and not isinstance(value, str | None):
            raise InvalidRequest(name, "must be a string")
    return ViewerIds(**{name: read_parameter(name, body.get(name) or "") for name in VIEWER_KEYS})


def _ttl_s(body: Mapping[str, Any]) -> int:
    ttl_s = body.get("ttl_s", TTL_DEFAULT_S)
    if type(ttl_s) is not int or not 1 <= ttl_s <= TTL_MAX_S:
        raise InvalidRequest("ttl_s", f"must be an integer between 1 and {TTL_MAX_S}")
    return ttl_s


def _session_id(request: Request) -> UUID:
    text = request.path_params["id"]
    try:
        return UUID(text)
    except ValueError:
        raise NotFound("unknown session: the id is not a UUID") from None


def _session_response(session: SessionRow, status: int) -> Response:
    body = {
        "id": str(session.id),
        "correlator": session.correlator,
        "publisher_id": session.publisher_id,
        "created_at": session.created_at,
        "expires_at": session.expires_at,
        "played": session.played,
    }
    return Response(
        orjson.dumps(body), status_code=status, media_type="application/json", headers={"Cache-Control": "no-store"}
    )
