"""Errors as `application/problem+json` (RFC 9457), without internal details."""

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app import errors

PROBLEM_TYPE = "application/problem+json"

_TITLES = {
    400: "Invalid request",
    401: "Not authorized",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    410: "Gone",
    415: "Unsupported media type",
    429: "Too many requests",
    431: "Request header fields too large",
    501: "Not implemented",
    503: "Unavailable",
}

STATUS_OF: dict[type[Exception], int] = {
    errors.InvalidInput: 400,
    errors.Unauthorized: 401,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.RateLimited: 429,
    errors.StoreUnavailable: 503,
}


def status_of(error: Exception) -> int:
    """Return the HTTP status of an error; 500 unless it is an AdServerError."""
    return next((status for kind, status in STATUS_OF.items() if isinstance(error, kind)), 500)


def problem(status: int, detail: str, *, field: str | None = None, **extra: object) -> Response:
    """Return a problem document; `field` is the name of the invalid parameter or key, `detail` the reason."""
    body: dict[str, object] = {"type": "about:blank", "title": _TITLES.get(status, "Error"), "status": status}
    if field is not None:
        body |= {"field": field, "reason": detail}
    body |= {"detail": detail if field is None else f"{field}: {detail}", **extra}
    # Caches may store 404 and 410 by default (RFC 9110 section 15.1).
    headers = {"Cache-Control": "no-store"}
    return Response(orjson.dumps(body), status_code=status, media_type=PROBLEM_TYPE, headers=headers)


def problem_of(error: Exception) -> Response:
    """Return the problem document of an AdServerError."""
    status = status_of(error)
    if isinstance(error, errors.InvalidFile):
        faults = [{"field": fault.key, "reason": fault.reason} for fault in error.faults]
        return problem(status, error.reason, field=error.field, faults=faults)
    if isinstance(error, errors.InvalidInput):
        return problem(status, error.reason, field=error.field)
    if isinstance(error, errors.StoreUnavailable):
        return problem(status, "the database does not respond")
    response = problem(status, str(error))
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, errors.RateLimited):
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response


def not_allowed(*methods: str) -> Response:
    """Return the response to a request whose method is not one of `methods`."""
    response = problem(405, f"the method must be {', '.join(methods[:-1])} or {methods[-1]}")
    response.headers["Allow"] = ", ".join(methods)
    return response


async def on_error(_request: Request, error: Exception) -> Response:
    """Handle every AdServerError, as an exception handler of Starlette."""
    return problem_of(error)


async def on_http_error(_request: Request, error: Exception) -> Response:
    """Handle the router's own errors: an unknown path or a wrong method."""
    if not isinstance(error, HTTPException):
        raise error
    response = problem(error.status_code, str(error.detail))
    response.headers.update(error.headers or {})
    return response
