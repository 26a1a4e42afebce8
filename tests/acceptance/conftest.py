from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from sqlalchemy.engine import make_url

from app.embedded import EmbeddedPostgres
from app.store.roles import APP
from tests.players import connected
from tests.postgres import cloned_database
from tests.served_ads import Serve, assert_booked, serves_of
from tests.valid_vast import assert_valid

HANDED_OUT: set[Serve] = set()
"""The serves of all Ads that the tests of one module were answered from their common database."""


@dataclass(frozen=True)
class Databases:
    """One database, for its owner and for the server."""

    owner: str
    app: str


@pytest.fixture(scope="module")
async def of_module(postgres: EmbeddedPostgres, migrated_template: str) -> AsyncIterator[Databases]:
    """A fresh, migrated database that the tests of one module share."""
    async with cloned_database(postgres, migrated_template) as url:
        HANDED_OUT.clear()
        yield Databases(url, postgres.url(make_url(url).database or "", APP))
        async with connected(url) as connection:
            await assert_booked(connection, HANDED_OUT)


@pytest.fixture(autouse=True)
def every_answer_is_valid(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test asks for, the answer is checked, unless what went in was not valid itself.

    Each Ad in it must be a serve of its own, of which there is a row when the module's tests end.
    """
    if request.node.get_closest_marker("invalid_input"):
        return
    # Other tests have a database of their own, and may take rows out of it.
    handed_out = HANDED_OUT if "of_module" in request.fixturenames else set()
    send, send_later = httpx.Client.send, httpx.AsyncClient.send

    def checked(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        response = send(client, request, **options)
        _check(response, handed_out)
        return response

    async def checked_later(client: httpx.AsyncClient, request: httpx.Request, **options: Any) -> httpx.Response:
        response = await send_later(client, request, **options)
        _check(response, handed_out)
        return response

    monkeypatch.setattr(httpx.Client, "send", checked)
    monkeypatch.setattr(httpx.AsyncClient, "send", checked_later)


def _check(response: httpx.Response, handed_out: set[Serve]) -> None:
    is_document = response.headers.get("content-type", "").startswith("application/xml")
    if is_document and response.status_code == 200 and response.request.method == "GET":
        assert_valid(response.content)
        handed_out.update(serves_of(response.content))
