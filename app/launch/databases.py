"""The database that a command works on: the configured one, or the embedded one, which is started when it is not up."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.embedded import EmbeddedPostgres, running_dsn
from app.settings import Settings


def configured_or_running(settings: Settings) -> str | None:
    """The connection URL of the database in use; None if it is the embedded one and that does not run."""
    return settings.database_url or running_dsn(settings.data_dir)


@contextmanager
def database_in_use(settings: Settings) -> Iterator[str]:
    """The connection URL of the database in use; an embedded one that is not up runs until the end of the block.

    Raises MisconfiguredServer if the data directory is of no use, StoreUnavailable if Postgres does not start.
    """
    url = configured_or_running(settings)
    if url is not None:
        yield url
        return
    with EmbeddedPostgres(settings.data_dir) as server:
        yield server.dsn
