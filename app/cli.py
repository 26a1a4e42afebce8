"""The `adserver` command. What goes wrong on purpose becomes one line and an exit status."""

import sys
from io import TextIOWrapper
from typing import Annotated

import structlog
import typer

from app.commands import books, ledger, psql, reports, serving, setup, users
from app.errors import AdServerError, InvalidInput, MisconfiguredServer
from app.version import VERSION

BAD_INPUT = 2
FAILURE = 1
INTERRUPTED = 130

app = typer.Typer(
    name="adserver",
    help="A VAST ad server whose database cannot overspend a budget or exceed a frequency cap.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for audience in (serving, psql, setup, books, ledger, reports, users):
    audience.register(app)


def _print_version(is_requested: bool) -> None:
    if is_requested:
        typer.echo(f"adserver {VERSION}")
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
]


@app.callback()
def _options(*, _version: VersionOption = False) -> None:
    """Accept the options that come before a command."""


def main() -> None:
    """Runs the command; exits with 2 for bad input or settings, with 1 for any other failure."""
    # What a command prints is for its caller alone; a server sets its log up anew.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    if isinstance(sys.stdout, TextIOWrapper):
        # A letter that the terminal has not is no reason to fail when the work is done; standard error is like this.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except AdServerError as error:
        for line in str(error).splitlines():
            typer.echo(f"adserver: {line}", err=True)
        sys.exit(BAD_INPUT if isinstance(error, (InvalidInput, MisconfiguredServer)) else FAILURE)
    except OSError as error:
        # Such as a full disk behind a redirection.
        typer.echo(f"adserver: {error.filename or 'output'}: {error.strerror}", err=True)
        sys.exit(FAILURE)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
