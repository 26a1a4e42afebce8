"""docs/schema.sql is the schema of a migrated database, and leaves out no table."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from app.embedded import EmbeddedPostgres
from app.launch.migrate import migrate
from app.store.connections import connect
from app.store.tables import metadata
from docs.schema_page import PAGE, page
from tests.postgres import cloned_database


@pytest.fixture
async def migrated(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """A database that was migrated itself: a copy of one lacks the privileges of the database."""
    async with cloned_database(postgres, "template1") as url:
        await asyncio.to_thread(migrate, url)
        yield url


async def test_the_page_is_the_schema(migrated: str) -> None:
    async with connect(migrated) as connection:
        assert PAGE.read_text() == await page(connection), "run `make docs`"


def test_the_page_has_every_table() -> None:
    assert set(re.findall(r"^CREATE TABLE (\w+) \($", PAGE.read_text(), re.MULTILINE)) == set(metadata.tables)
