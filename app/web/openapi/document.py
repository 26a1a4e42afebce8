"""The OpenAPI document and its endpoint."""

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app.campaign_file.models import TABLES
from app.version import VERSION
from app.web.openapi import operators, players
from app.web.openapi.ad_requests import IN_JSON
from app.web.openapi.schemas import PROBLEM

OPENAPI_VERSION = "3.1.0"


class OpenApiEndpoint:
    """Serves `/openapi.json`."""

    def __init__(self) -> None:
        self._body = orjson.dumps(document())

    def routes(self) -> list[BaseRoute]:
        """Return the route of `/openapi.json`."""
        return [Route("/openapi.json", self._document)]

    async def _document(self, _request: Request) -> Response:
        return Response(self._body, media_type="application/json", headers={"Cache-Control": "no-cache"})


def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    schemas: dict[str, Any] = {
        "Problem": PROBLEM,
        "AdRequest": IN_JSON,
        "BatchResult": players.BATCH_RESULT,
        "Session": players.SESSION,
        "NewSession": players.NEW_SESSION,
        **operators.SCHEMAS,
    }
    for kind, table in TABLES.items():
        model = table.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= model.pop("$defs", {})
        name = kind.removesuffix("s").capitalize()
        schemas[name] = model
        schemas[operators.put_body(name)] = model | {"required": [key for key in model["required"] if key != "id"]}
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": "Ad server",
            "version": VERSION,
            "description": "VAST ads from campaigns whose budgets and frequency caps are never exceeded.",
        },
        "tags": [{"name": name} for name in ("players", "sessions", "set-up", "operations")],
        "paths": {**players.PATHS, **operators.PATHS},
        "components": {
            "schemas": schemas,
            "securitySchemes": {"adminToken": {"type": "http", "scheme": "bearer"}},
        },
    }
