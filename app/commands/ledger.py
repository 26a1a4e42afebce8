"""`adserver ledger`: manual entries and balances."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

import typer
from asyncpg import Connection, Record

from app.accounting import corrections
from app.accounting.corrections import Adjustment, BookedEntry, Reversal, parse_amount
from app.accounting.dates import parse_day, parse_moment, require_bookable
from app.commands.command_context import connected, ready_database
from app.errors import InvalidEntry
from app.launch.databases import database_in_use
from app.launch.env_settings import settings_from_environment
from app.store.finance_reports import Balance, read_balances

Reason = Annotated[str, typer.Option(help="Reason, recorded in the ledger.")]
Key = Annotated[str, typer.Option(help="Idempotency key: repeating a key shows its entry and books nothing.")]

ledger = typer.Typer(name="ledger", help="Correct the ledger and show balances.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(ledger)


@ledger.command()
def adjust(
    campaign_id: Annotated[str, typer.Argument(help="Campaign to adjust.")],
    amount: Annotated[str, typer.Option(help="Amount to add to the spend; negative for a credit, such as -5.25.")],
    reason: Reason,
    key: Key,
    currency: Annotated[str | None, typer.Option(help="Expected currency; fail if the campaign has another.")] = None,
    date: Annotated[
        str | None, typer.Option(help="Date of the entry in the campaign's timezone, such as 2026-10-31; default: now.")
    ] = None,
) -> None:
    """Add an amount to a campaign's spend and its lifetime budget."""
    adjustment = Adjustment(
        campaign_id=campaign_id,
        amount=parse_amount(amount),
        reason=reason,
        key=key,
        currency=currency,
        day=None if date is None else require_bookable("date", parse_day("date", date)),
    )
    _book(lambda connection: corrections.adjust(connection, adjustment))


@ledger.command()
def reverse(
    entry_id: Annotated[int, typer.Argument(help="Entry to reverse, as shown in finance.invoice_lines.")],
    reason: Reason,
    key: Key,
) -> None:
    """Reverse one entry, in every budget in which it was counted."""
    reversal = Reversal(entry_id, reason, key)
    _book(lambda connection: corrections.reverse(connection, reversal))


@ledger.command()
def balance(
    campaign_id: Annotated[str | None, typer.Argument(help="Campaign to show; default: all campaigns.")] = None,
    as_of: Annotated[
        str | None, typer.Option("--at", help="Past moment, such as 2026-10-31T23:59:59Z; default: now.")
    ] = None,
) -> None:
    """Show the spend of campaigns as of a moment.

    Counts the entries dated up to that moment. The finance role may run this command.
    """
    moment = None if as_of is None else parse_moment("at", as_of)

    async def run(url: str) -> Sequence[Balance]:
        async with connected(url) as connection:
            return await read_balances(connection, moment, campaign_id)

    with database_in_use(settings_from_environment()) as url:
        balances = asyncio.run(run(url))
    if campaign_id is not None and not balances:
        raise InvalidEntry("campaign_id", f"unknown campaign {campaign_id!r}")
    for row in balances:
        typer.echo(f"{row.campaign_id} {row.spent:.6f} {row.currency}")


def _book(book: "Callable[[Connection[Record]], Awaitable[BookedEntry]]") -> None:
    async def run(url: str) -> BookedEntry:
        async with connected(url) as connection:
            return await book(connection)

    with ready_database() as url:
        booked = asyncio.run(run(url))
    verb = "was already booked" if booked.is_repeat else "booked"
    typer.echo(
        f"entry {booked.entry_id} {verb}: {booked.campaign_id} {booked.amount:+.6f} {booked.currency}, "
        f"dated {booked.booked_on}"
    )
