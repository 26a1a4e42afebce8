"""`adserver psql`: Postgres' own client on the database in use, with no password in a command line."""

import os
import shutil
import signal
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from app.commands.roles import Role, url_of
from app.embedded import packaged_psql
from app.launch.env_settings import settings_from_environment
from app.store.database_url import split_password


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(context_settings={"ignore_unknown_options": True})(psql)


def psql(
    role: Annotated[Role, typer.Option(help="Who connects.")] = Role.OWNER,
    arguments: Annotated[list[str] | None, typer.Argument(help="Handed to psql; best after `--`.")] = None,
) -> NoReturn:
    """Open psql on the database in use.

    Other users of the machine see the command line of every process: the password is in the environment instead.
    """
    settings = settings_from_environment()
    url, password = split_password(url_of(role, settings))
    program = _program(is_embedded=not settings.database_url)
    environment = {**os.environ, **({} if password is None else {"PGPASSWORD": password})}
    # Python ignores it, and a program that replaces this one would inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    command = ["psql", f"--dbname={url}", *(arguments or ())]
    os.execve(program, command, environment)  # noqa: S606 - psql's own arguments are the caller's


def _program(*, is_embedded: bool) -> Path:
    """The packaged psql fits the embedded Postgres; others may need TLS, which the packaged one lacks."""
    installed = None if is_embedded else shutil.which("psql")
    return Path(installed) if installed else packaged_psql()
