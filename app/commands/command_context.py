"""What commands work with: the database in use and its secret, and how they show that they are not done yet."""

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg
from asyncpg import Connection, Record
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.errors import AdServerError
from app.launch.databases import database_in_use
from app.launch.env_settings import settings_from_environment
from app.launch.migrate import require_schema
from app.launch.secret_key import load_or_create_secret_key, load_secret_key
from app.store.connections import connect


@contextmanager
def ready_database() -> Iterator[str]:
    """The connection URL of the database in use, whose schema is what this code needs."""
    with database_in_use(settings_from_environment()) as url:
        require_schema(url)
        yield url


@asynccontextmanager
async def connected(url: str) -> AsyncIterator["Connection[Record]"]:
    """One connection; raises AdServerError in the words of Postgres for what that refuses, such as a right."""
    try:
        async with connect(url) as connection:
            yield connection
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise AdServerError((str(error) or type(error).__name__).splitlines()[0]) from error


def secrets_in_use() -> list[str]:
    """The secret that users' keys are made with, configured or kept in the data directory, and those of before.

    For a database elsewhere none is made: nobody would be known by it. Raises MisconfiguredServer.
    """
    settings = settings_from_environment()
    kept = load_secret_key if settings.database_url else load_or_create_secret_key
    present = settings.secret_key.get_secret_value() or kept(settings.data_dir)
    return [present, *(key.get_secret_value() for key in settings.retired_secret_keys)]


@contextmanager
def progress(what: str, *, hidden: bool = False) -> Iterator[Callable[[int, int | None], None]]:
    """Shows on a terminal how many of how many are done; of an unknown number: how many. Print nothing meanwhile."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=hidden or not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
