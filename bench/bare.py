"""A bare Starlette route that returns the bytes of a real answer: what HTTP in Python costs at the least."""

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def answer() -> Response:
    """A VAST document of the server's, with the headers that it sends."""
    body = os.environ["BENCH_ANSWER"].encode()
    headers = {"Cache-Control": "no-store", "X-Request-Id": "01997000-0000-7000-8000-000000000000"}
    return Response(body, media_type="application/xml", headers=headers)


def create_app() -> Starlette:
    """The ASGI application of one worker."""

    async def vast(_request: Request) -> Response:
        return answer()

    return Starlette(routes=[Route("/vast", vast)])
