"""The `adserver` program. Expected errors become one line on standard error and an exit status."""

import sys
from io import TextIOWrapper
from typing import Annotated

import structlog
import typer

from app.commands import (
    books,
    creatives,
    invoices,
    ledger,
    orders,
    payouts,
    psql,
    reports,
    serving,
    setup,
    third_party,
    users,
)
from app.errors import AdServerError, InvalidInput, MisconfiguredServer
from app.version import VERSION

EXIT_BAD_INPUT = 2
EXIT_FAILURE = 1
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="adserver",
    help="A VAST ad server whose database cannot overspend a budget or exceed a frequency cap.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for group in (serving, psql, setup, creatives, books, invoices, ledger, orders, payouts, third_party, reports, users):
    group.register(app)


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
    """Run a command. Exit with status 2 for invalid input or settings, and with 1 for any other failure."""
    # Standard output carries the result of a command, so its log goes to standard error; a server configures its own.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    if isinstance(sys.stdout, TextIOWrapper):
        # Escape characters that the terminal cannot encode instead of failing, as standard error does by default.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except AdServerError as error:
        for line in str(error).splitlines():
            typer.echo(f"adserver: {line}", err=True)
        sys.exit(EXIT_BAD_INPUT if isinstance(error, (InvalidInput, MisconfiguredServer)) else EXIT_FAILURE)
    except OSError as error:
        # For example, a full disk.
        typer.echo(f"adserver: {error.filename or 'output'}: {error.strerror}", err=True)
        sys.exit(EXIT_FAILURE)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
