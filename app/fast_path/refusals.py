"""Responses to requests that no endpoint sees: problem documents (RFC 9457) that pages of any origin may read."""

import orjson

from app.fast_path.direct_endpoints import DirectAnswer


class Refused(Exception):
    """Raised while a request is parsed; `answer` gives the reason."""

    def __init__(self, answer: DirectAnswer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def _refusal(status: int, title: str, detail: str) -> DirectAnswer:
    """Return what app.web.problems and app.web.cors would make of it; they are above this package."""
    body = orjson.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail})
    headers = (
        (b"cache-control", b"no-store"),
        (b"content-length", str(len(body)).encode()),
        (b"content-type", b"application/problem+json"),
        (b"access-control-allow-origin", b"*"),
        (b"vary", b"Origin"),
    )
    return DirectAnswer(status, headers, body)


INVALID_HTTP = _refusal(400, "Invalid request", "the request is not valid HTTP/1.1")
NOT_ONE_HOST = _refusal(400, "Invalid request", "a request must have exactly one Host header")
AMBIGUOUS_BODY = _refusal(400, "Invalid request", "the length of the body is ambiguous")
REQUEST_TIMEOUT = _refusal(408, "Request timeout", "the rest of the request did not arrive in time")
HEAD_TOO_LARGE = _refusal(
    431, "Request header fields too large", "the request line and headers are too large or too many"
)
UNKNOWN_CODING = _refusal(501, "Not implemented", "chunked is the only supported transfer coding")
OVERLOADED = _refusal(503, "Unavailable", "the server is overloaded")
