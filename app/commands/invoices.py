"""`adserver invoices`: make, list and show invoices and credit notes."""

import asyncio
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from app.accounting.dates import parse_month
from app.accounting.invoice_documents import Document, InvoiceFormat, list_lines, render
from app.accounting.invoices import MADE_MAX, MadeInvoices, make_invoices
from app.commands.command_context import connected, ready_database
from app.errors import AdServerError, InvalidEntry
from app.launch.databases import database_in_use
from app.launch.env_settings import settings_from_environment
from app.store.invoices import Invoice, read_details, read_invoices

NUMBER_MAX = 2**63 - 1

invoices = typer.Typer(name="invoices", help="Make and show invoices of closed months.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(invoices)


@invoices.command()
def make(
    month: Annotated[str, typer.Argument(help="Closed month, such as 2026-11.")],
    order: Annotated[str | None, typer.Option(help="Order to invoice; default: all orders and campaigns.")] = None,
) -> None:
    """Make the invoices and credit notes of a closed month.

    One for each order, and one for each advertiser and currency for campaigns without an order. What was already
    invoiced is not invoiced again.
    """
    first_day = parse_month(month)

    async def run(url: str) -> MadeInvoices:
        async with connected(url) as connection:
            return await make_invoices(connection, first_day, order)

    with ready_database() as url:
        result = asyncio.run(run(url))
    for line in list_lines(result.made):
        typer.echo(f"made {line}")
    typer.echo(f"{first_day:%Y-%m}: {len(result.made)} made, {result.made_before} made before")


@invoices.command("list")
def list_invoices(
    month: Annotated[str | None, typer.Option(help="Month of the invoices, such as 2026-11; default: all.")] = None,
) -> None:
    """List invoices and credit notes by number. The finance role may run this command."""
    first_day = None if month is None else parse_month(month)

    async def run(url: str) -> list[Invoice]:
        async with connected(url) as connection:
            return await read_invoices(connection, month=first_day, limit=MADE_MAX)

    with database_in_use(settings_from_environment()) as url:
        for line in list_lines(asyncio.run(run(url))):
            typer.echo(line)


@invoices.command()
def show(
    number: Annotated[int, typer.Argument(help="Number of the invoice or credit note.")],
    output_format: Annotated[InvoiceFormat, typer.Option("--format", help="Output format.")] = InvoiceFormat.TEXT,
    output: Annotated[Path | None, typer.Option(help="File to write; default: standard output.")] = None,
) -> None:
    """Show an invoice or credit note. The finance role may run this command."""

    async def run(url: str) -> Document | None:
        async with connected(url) as connection:
            found = await read_invoices(connection, number=number, limit=1) if abs(number) <= NUMBER_MAX else []
            return Document(found[0], await read_details(connection, number)) if found else None

    with database_in_use(settings_from_environment()) as url:
        document = asyncio.run(run(url))
    if document is None:
        raise InvalidEntry("number", f"unknown invoice {number}")
    _write(render(document, output_format), output)


def _write(text: str, output: Path | None) -> None:
    """Write the text as UTF-8, with its own line ends, to a file that appears only once it is complete."""
    if output is None:
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", newline="")
        sys.stdout.write(text)
        return
    unfinished = output.with_name(f"{output.name}.unfinished")
    try:
        unfinished.write_text(text, encoding="utf-8", newline="")
        unfinished.replace(output)
    except OSError as error:
        raise AdServerError(f"cannot write {output}: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)
