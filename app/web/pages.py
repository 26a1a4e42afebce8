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
"""The player of the demo loads tags, media and pixels from the hosts that ads name."""

POLICIES = {"demo": PLAYS_ADS, "console": SELF_ONLY, "docs": SELF_ONLY}
"""Content-Security-Policy of each page."""


class PageEndpoints:
    """`/console`, `/docs`, and their files in `/static`."""

    def routes(self) -> list[BaseRoute]:
        """Return the routes of the pages and their static files."""
        return [
            Route("/console", _console),
            Route("/docs", _docs),
            Mount("/static", RevalidatedStaticFiles(directory=STATIC), name="static"),
        ]


class RevalidatedStaticFiles(StaticFiles):
    """Static files that browsers revalidate, because files of an earlier version do not suit this one's pages."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Return the response of StaticFiles with `Cache-Control: no-cache`."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def page(name: str) -> Response:
    """Return the page with its security headers."""
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
