"""The OpenAPI document: `GET /openapi.json`, which `/docs` shows."""

from app.web.openapi.document import OpenApiEndpoint

__all__ = ["OpenApiEndpoint"]
