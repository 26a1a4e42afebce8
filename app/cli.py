"""The `adserver` command. What goes wrong on purpose becomes one line and an exit status."""

import sys

import structlog
import typer

from app.commands import books, ledger, reports, serving, setup, users
from app.errors import AdServerError, InvalidInput, MisconfiguredServer

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
for audience in (serving, setup, books, ledger, reports, users):
    audience.register(app)


def main() -> None:
    """Runs the command; exits with 2 for bad input or settings, with 1 for any other failure."""
    # What a command prints is for its caller alone; a server sets its log up anew.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        app()
    except AdServerError as error:
        for line in str(error).splitlines():
            typer.echo(f"adserver: {line}", err=True)
        sys.exit(BAD_INPUT if isinstance(error, (InvalidInput, MisconfiguredServer)) else FAILURE)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
