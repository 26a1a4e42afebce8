"""The OpenAPI document, put together once."""

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
    """`/openapi.json`."""

    def __init__(self) -> None:
        self._body = orjson.dumps(document())

    def routes(self) -> list[BaseRoute]:
        """The description's route."""
        return [Route("/openapi.json", self._document)]

    async def _document(self, _request: Request) -> Response:
        return Response(self._body, media_type="application/json", headers={"Cache-Control": "no-cache"})


def document() -> dict[str, Any]:
    """The whole description."""
    schemas: dict[str, Any] = {
        "Problem": PROBLEM,
        "AdRequest": IN_JSON,
        "Decided": players.DECIDED,
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
            "description": "VAST ads from campaigns whose budgets and frequency caps hold, always.",
        },
        "tags": [{"name": name} for name in ("players", "sessions", "set-up", "operations")],
        "paths": {**players.PATHS, **operators.PATHS},
        "components": {
            "schemas": schemas,
            "securitySchemes": {"adminToken": {"type": "http", "scheme": "bearer"}},
        },
    }
