from collections.abc import AsyncIterator

import pytest

from app.store.connections import Store
from tests.integration.accounting.world import open_store


@pytest.fixture
async def store(app_database: str) -> AsyncIterator[Store]:
    """The database as the server's role sees it."""
    store = open_store(app_database)
    yield store
    await store.close()
