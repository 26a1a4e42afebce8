"""Static pages for people: the demo, the console and the API reference; their data comes from the API."""

from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

STATIC = Path(__file__).parent / "static"

DENY_REST = "object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
SELF_ONLY = f"default-src 'self'; {DENY_REST}"
PLAYS_ADS = (
    "default-src 'self'; connect-src *; media-src * blob:; img-src * data:; style-src 'self' 'unsafe-inline';"
    f" {DENY_REST}"
)
"""The demo's player goes where ads lead it: their tags, media and pixels."""

POLICIES = {"demo": PLAYS_ADS, "console": SELF_ONLY, "docs": SELF_ONLY}
"""Each page, and what its Content-Security-Policy lets it do."""


class PageEndpoints:
    """`/console`, `/docs`, and `/static`, where their parts are."""

    def routes(self) -> list[BaseRoute]:
        """The pages, and their static files."""
        return [
            Route("/console", _console),
            Route("/docs", _docs),
            Mount("/static", RevalidatedStaticFiles(directory=STATIC), name="static"),
        ]


class RevalidatedStaticFiles(StaticFiles):
    """Static files that browsers ask for anew: those of an earlier version do not go with the pages of this one."""

    def file_response(self, *file: Any, **how: Any) -> Response:
        """As of StaticFiles."""
        response = super().file_response(*file, **how)
        response.headers["Cache-Control"] = "no-cache"
        return response


def page(name: str) -> Response:
    """The page, and what browsers are to know of it."""
    return FileResponse(
        STATIC / f"{name}.html",
        headers={
            "Content-Security-Policy": POLICIES[name],
            "Cache-Control": "no-cache",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        },
    )


async def _console(_request: Request) -> Response:
    return page("console")


async def _docs(_request: Request) -> Response:
    return page("docs")
