"""The API's own description: `GET /openapi.json`, which `/docs` shows."""

from app.web.description.document import Description

__all__ = ["Description"]
