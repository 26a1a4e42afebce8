import asyncio
from collections.abc import Iterator

import pytest

from app.embedded import EmbeddedPostgres
from app.launch.databases import set_role_passwords
from app.launch.migrate import migrate
from tests.postgres import temporary_postgres


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """A server that may be killed without hurting other tests, migrated."""
    with temporary_postgres() as server:
        migrate(server.dsn)
        asyncio.run(set_role_passwords(server))
        yield server
