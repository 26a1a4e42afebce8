"""Request bodies: read up to a limit, and no further."""

from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request

from app.errors import InvalidRequest


async def read_body(request: Request, bytes_max: int) -> bytes:
    """The whole body; raises InvalidRequest as soon as it is longer than `bytes_max`, or if the client hangs up."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > bytes_max:
                raise InvalidRequest("body", f"must not be longer than {bytes_max} bytes")
    except ClientDisconnect:
        raise InvalidRequest("body", "must come whole") from None
    return bytes(body)


async def read_json(request: Request, bytes_max: int) -> Any:
    """What the body says, an empty object if there is no body; raises InvalidRequest unless it is JSON."""
    body = await read_body(request, bytes_max)
    if not body.strip():
        return {}
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise InvalidRequest("body", "must be JSON in UTF-8") from None


async def read_object(request: Request, bytes_max: int) -> dict[str, Any]:
    """The JSON object in the body, an empty one if there is no body; raises InvalidRequest for anything else."""
    value = await read_json(request, bytes_max)
    if not isinstance(value, dict):
        raise InvalidRequest("body", "must be a JSON object")
    return value
