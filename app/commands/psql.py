"""`adserver psql`: the client of Postgres on the database in use, without a password on the command line."""

import os
import shutil
import signal
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from app.commands.roles import Role, role_connection_url
from app.embedded import packaged_psql
from app.launch.env_settings import settings_from_environment
from app.store.database_url import split_password


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(context_settings={"ignore_unknown_options": True})(psql)


def psql(
    role: Annotated[Role, typer.Option(help="Database role to connect as.")] = Role.OWNER,
    arguments: Annotated[list[str] | None, typer.Argument(help="Arguments for psql; put them after `--`.")] = None,
) -> NoReturn:
    """Open psql on the database in use.

    The password is passed in the environment, because other users of the machine can see command lines.
    """
    settings = settings_from_environment()
    url, password = split_password(role_connection_url(role, settings))
    program = _program(is_embedded=not settings.database_url)
    environment = {**os.environ, **({} if password is None else {"PGPASSWORD": password})}
    # Python ignores SIGPIPE, and psql would inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    command = ["psql", f"--dbname={url}", *(arguments or ())]
    os.execve(program, command, environment)  # noqa: S606 - psql's own arguments are the caller's


def _program(*, is_embedded: bool) -> Path:
    """Return the packaged psql for the embedded Postgres, and an installed one, which supports TLS, for any other."""
    installed = None if is_embedded else shutil.which("psql")
    return Path(installed) if installed else packaged_psql()
