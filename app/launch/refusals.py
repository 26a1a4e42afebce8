"""What a connection answers to a request that no endpoint sees: a problem document, for pages of any origin."""

from app.web.cors import cors_headers
from app.web.direct import DirectAnswer
from app.web.problems import problem


class Refused(Exception):
    """Raised while a request is parsed; `answer` says why it is refused."""

    def __init__(self, answer: DirectAnswer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def _refusal(status: int, detail: str) -> DirectAnswer:
    response = problem(status, detail)
    return DirectAnswer(status, (*response.raw_headers, *cors_headers(None)), bytes(response.body))


NO_HTTP = _refusal(400, "the request is not valid HTTP/1.1")
NO_SINGLE_HOST = _refusal(400, "a request has one Host header")
AMBIGUOUS_BODY = _refusal(400, "the length of the body is ambiguous")
NOT_IN_TIME = _refusal(408, "the rest of the request did not come in time")
HEAD_TOO_LARGE = _refusal(431, "the request line and headers are too large or too many")
UNKNOWN_CODING = _refusal(501, "chunked is the only transfer coding that is known")
OVERLOADED = _refusal(503, "the server has too much to do")
