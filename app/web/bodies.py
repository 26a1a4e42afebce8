"""Reading of request bodies up to a limit."""

from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request

from app.errors import InvalidRequest


async def read_body(request: Request, bytes_max: int) -> bytes:
    """Return the body; raises InvalidRequest if it is longer than `bytes_max`, or if the client disconnects."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > bytes_max:
                raise InvalidRequest("body", f"must not be longer than {bytes_max} bytes")
    except ClientDisconnect:
        raise InvalidRequest("body", "is incomplete") from None
    return bytes(body)


async def read_json(request: Request, bytes_max: int) -> Any:
    """Return the parsed body, an empty object if there is no body; raises InvalidRequest unless it is JSON."""
    body = await read_body(request, bytes_max)
    if not body.strip():
        return {}
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise InvalidRequest("body", "must be JSON in UTF-8") from None


async def read_object(request: Request, bytes_max: int) -> dict[str, Any]:
    """Return the JSON object in the body, an empty one if there is no body; raises InvalidRequest otherwise."""
    value = await read_json(request, bytes_max)
    if not isinstance(value, dict):
        raise InvalidRequest("body", "must be a JSON object")
    return value
