"""Shared context of the commands: the database in use, the server's secrets, and a progress bar."""

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg
from asyncpg import Connection, Record
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.accounting.text_limits import require_text
from app.errors import AdServerError
from app.launch.databases import database_in_use
from app.launch.env_settings import settings_from_environment
from app.launch.migrate import require_schema
from app.launch.secret_key import load_or_create_secret_key, load_secret_key
from app.store.connections import connect
from app.store.setup_history import AUTHOR_LENGTH_MAX


@contextmanager
def ready_database() -> Iterator[str]:
    """Yield the connection URL of the database in use, after checking that its schema fits this version."""
    with database_in_use(settings_from_environment()) as url:
        require_schema(url)
        yield url


@asynccontextmanager
async def connected(url: str) -> AsyncIterator["Connection[Record]"]:
    """Open one connection. Raises AdServerError with the message of Postgres if it refuses a statement."""
    try:
        async with connect(url) as connection:
            yield connection
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise AdServerError((str(error) or type(error).__name__).splitlines()[0]) from error


def author_option(name: str | None) -> str | None:
    """Return the name that `--as` has given. Raises InvalidEntry unless the history can show it."""
    if name is not None:
        require_text("--as", name, AUTHOR_LENGTH_MAX)
    return name


def secrets_in_use() -> list[str]:
    """Return the current secret key, from the settings or the data directory, and the retired ones.

    With a configured database, the key must exist: a new key would match no stored user. Raises MisconfiguredServer.
    """
    settings = settings_from_environment()
    stored = load_secret_key if settings.database_url else load_or_create_secret_key
    current = settings.secret_key.get_secret_value() or stored(settings.data_dir)
    return [current, *(key.get_secret_value() for key in settings.retired_secret_keys)]


@contextmanager
def progress(unit: str, *, hidden: bool = False) -> Iterator[Callable[[int, int | None], None]]:
    """Show progress on a terminal. Yield a function of the number done and of the total, None if it is unknown.

    Nothing else may be printed while the block runs.
    """
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
        task = bar.add_task(unit, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
