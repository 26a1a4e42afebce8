import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy.engine import make_url

from app.embedded import EmbeddedPostgres
from app.launch.databases import set_role_passwords
from app.launch.migrate import migrate
from app.store.roles import APP, FINANCE
from tests.postgres import TEMPLATE, cloned_database, create_template, sweep_killed_sessions, temporary_postgres

# Other programs on the machine may hold up an example, and its drawing, for longer than Hypothesis allows.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """The session's server; its own log is at `postgres.log_path`."""
    sweep_killed_sessions()
    with temporary_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_template(postgres: EmbeddedPostgres) -> str:
    """The name of a database that is migrated once, and then only copied."""
    create_template(postgres)
    migrate(postgres.url(TEMPLATE))
    asyncio.run(set_role_passwords(postgres))
    return TEMPLATE


@pytest.fixture
async def database(postgres: EmbeddedPostgres, migrated_template: str) -> AsyncIterator[str]:
    """The URL of a fresh, migrated database of this test alone."""
    async with cloned_database(postgres, migrated_template) as url:
        yield url


@pytest.fixture
def app_database(postgres: EmbeddedPostgres, database: str) -> str:
    """The same database as `database`, for the role that the server runs as."""
    return postgres.url(make_url(database).database or "", APP)


@pytest.fixture
def finance_database(postgres: EmbeddedPostgres, database: str) -> str:
    """The same database as `database`, for the role that finance reads with."""
    return postgres.url(make_url(database).database or "", FINANCE)
