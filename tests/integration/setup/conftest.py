from collections.abc import AsyncIterator

import pytest

from app.store.connections import Store
from tests.integration.serves import open_store


@pytest.fixture
async def store(app_database: str) -> AsyncIterator[Store]:
    """A fresh database with the rights of the server, which the admin API has."""
    opened = open_store(app_database)
    yield opened
    await opened.close()
