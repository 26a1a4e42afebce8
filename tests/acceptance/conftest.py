from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from sqlalchemy.engine import make_url

from app.embedded import EmbeddedPostgres
from app.store.roles import APP
from tests.postgres import cloned_database
from tests.valid_vast import assert_valid


@dataclass(frozen=True)
class Databases:
    """One database, for its owner and for the server."""

    owner: str
    app: str


@pytest.fixture(scope="module")
async def of_module(postgres: EmbeddedPostgres, migrated_template: str) -> AsyncIterator[Databases]:
    """A fresh, migrated database that the tests of one module share."""
    async with cloned_database(postgres, migrated_template) as url:
        yield Databases(url, postgres.url(make_url(url).database or "", APP))


@pytest.fixture(autouse=True)
def every_answer_is_valid(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test asks for, the answer is checked, unless what went in was not valid itself."""
    if request.node.get_closest_marker("invalid_input"):
        return
    send, send_later = httpx.Client.send, httpx.AsyncClient.send

    def checked(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        response = send(client, request, **options)
        _check(response)
        return response

    async def checked_later(client: httpx.AsyncClient, request: httpx.Request, **options: Any) -> httpx.Response:
        response = await send_later(client, request, **options)
        _check(response)
        return response

    monkeypatch.setattr(httpx.Client, "send", checked)
    monkeypatch.setattr(httpx.AsyncClient, "send", checked_later)


def _check(response: httpx.Response) -> None:
    is_document = response.headers.get("content-type", "").startswith("application/xml")
    if is_document and response.status_code == 200 and response.request.method == "GET":
        assert_valid(response.content)
