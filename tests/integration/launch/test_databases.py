"""The database that a server opens for itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.launch.databases import open_database, role_url
from app.settings import Settings
from app.store.connections import connect
from app.store.roles import APP, FINANCE
from tests.postgres import temporary_folder

ROOM = "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data directory that every user may enter."""
    with temporary_folder() as folder:
        yield folder


async def test_the_embedded_postgres_has_room_for_every_worker_and_for_people(folder: Path) -> None:
    settings = Settings(data_dir=folder, workers=64, serve_connections=32, pool_connections=64)
    with open_database(settings) as database:
        async with connect(database.url) as connection:
            assert await connection.fetchval(ROOM) > 64 * (32 + 8 + 2 + 64)


def test_the_url_of_the_role_that_is_configured_keeps_its_password() -> None:
    configured = Settings(database_url="postgresql://adserver_app:secret@db/ads")
    assert role_url(configured, APP) == configured.database_url


def test_the_url_of_finance_leaves_the_password_to_whoever_gave_it() -> None:
    configured = Settings(database_url="postgresql://adserver_app:secret@db:5433/ads?sslmode=require")
    assert role_url(configured, FINANCE) == "postgresql://adserver_finance@db:5433/ads?sslmode=require"
