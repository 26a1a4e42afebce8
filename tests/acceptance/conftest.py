from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from sqlalchemy.engine import make_url

from app.embedded import EmbeddedPostgres
from app.store.roles import APP
from tests.postgres import cloned_database


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
