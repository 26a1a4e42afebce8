"""`adserver ledger`: entries by hand, each once and with a reason, and what the balance was."""

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

Reason = Annotated[str, typer.Option(help="Why; it stands in the ledger.")]
Key = Annotated[str, typer.Option(help="Idempotency key: the same one again books nothing, and tells what it booked.")]

ledger = typer.Typer(
    name="ledger", help="Correct the ledger by entries of its own, and ask it for balances.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(ledger)


@ledger.command()
def adjust(
    campaign_id: Annotated[str, typer.Argument(help="The campaign.")],
    amount: Annotated[str, typer.Option(help="What is added to what was spent: -5.25 is a credit.")],
    reason: Reason,
    key: Key,
    currency: Annotated[str | None, typer.Option(help="Refuse unless it is the campaign's.")] = None,
    date: Annotated[str | None, typer.Option(help="Day in the campaign's timezone that it is booked on; now.")] = None,
) -> None:
    """Add an amount to what a campaign has spent, or take it off; its lifetime budget follows."""
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
    entry_id: Annotated[int, typer.Argument(help="The entry, as `finance.invoice_lines` names it.")],
    reason: Reason,
    key: Key,
) -> None:
    """Take one entry back, whole; every budget that it counted in follows."""
    reversal = Reversal(entry_id, reason, key)
    _book(lambda connection: corrections.reverse(connection, reversal))


@ledger.command()
def balance(
    campaign_id: Annotated[str | None, typer.Argument(help="The campaign; all of them without it.")] = None,
    at: Annotated[str | None, typer.Option(help="A past moment, such as 2026-10-31T23:59:59Z; now.")] = None,
) -> None:
    """What a campaign had spent at a past moment, by the dates that the entries carry; also for the finance role."""
    moment = None if at is None else parse_moment("at", at)

    async def run(url: str) -> Sequence[Balance]:
        async with connected(url) as connection:
            return await read_balances(connection, moment, campaign_id)

    with database_in_use(settings_from_environment()) as url:
        balances = asyncio.run(run(url))
    if campaign_id is not None and not balances:
        raise InvalidEntry("campaign", f"there is no campaign {campaign_id}")
    for one in balances:
        typer.echo(f"{one.campaign_id} {one.spent:.6f} {one.currency}")


def _book(book: "Callable[[Connection[Record]], Awaitable[BookedEntry]]") -> None:
    async def run(url: str) -> BookedEntry:
        async with connected(url) as connection:
            return await book(connection)

    with ready_database() as url:
        booked = asyncio.run(run(url))
    verb = "was booked before" if booked.is_repeat else "booked"
    typer.echo(
        f"entry {booked.entry_id} {verb}: {booked.campaign_id} {booked.amount:+.6f} {booked.currency}, "
        f"dated {booked.booked_at.isoformat(timespec='seconds')}"
    )
