"""A path with a slash at its end is answered as without it, and no host is named."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from app.web.trailing_slashes import TrailingSlashMiddleware


async def path_of(request: Request) -> Response:
    return PlainTextResponse(request.scope["path"])


ROUTES = [Route(path, path_of) for path in ("/", "/vast", "/event/{event}")]


@pytest.mark.parametrize(
    ("path", "answered"),
    [("/vast/", "/vast"), ("/vast//", "/vast"), ("/event/start/", "/event/start"), ("/", "/"), ("//", "/")],
)
async def test_it_is_answered_as_without(path: str, answered: str) -> None:
    app = TrailingSlashMiddleware(Starlette(routes=ROUTES))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://adserver") as client:
        response = await client.get(f"{path}?a=b/")
    assert (response.status_code, response.text) == (200, answered)
