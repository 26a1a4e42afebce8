"""`adserver ledger`: manual entries and balances."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer
from asyncpg import Connection, Record

from app.accounting import corrections
from app.accounting.correction_sets import SetReversal, read_entry_file, require_condition, reverse_set
from app.accounting.corrections import Adjustment, BookedEntry, Reversal, parse_amount
from app.accounting.dates import parse_day, parse_moment, require_bookable
from app.commands.command_context import connected, progress, ready_database
from app.errors import InvalidEntry
from app.launch.databases import database_in_use
from app.launch.env_settings import settings_from_environment
from app.store import correction_sets
from app.store.correction_sets import Condition, SetProgress
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
    entry_id: Annotated[
        int | None, typer.Argument(help="Entry to reverse, as shown in finance.invoice_lines.", show_default=False)
    ] = None,
    *,
    reason: Reason,
    key: Key,
    file: Annotated[
        Path | None, typer.Option("--from", help="File of entries: one id a line, or a CSV column entry_id.")
    ] = None,
    campaign: Annotated[str | None, typer.Option(help="Reverse the charges of this campaign's ads.")] = None,
    placement: Annotated[str | None, typer.Option(help="Reverse the charges of ads on this placement.")] = None,
    publisher: Annotated[str | None, typer.Option(help="Reverse the charges of ads on this publisher.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only charges booked from this moment on, such as 2026-10-31T22:00:00Z.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only charges booked before this moment.")] = None,
) -> None:
    """Reverse one entry, or many under one key, in every budget in which they were counted.

    Many are the entries of a file, or the charges of ads that meet all given conditions. Nothing is booked if a line is
    wrong. Entries that are already reversed are skipped and counted. If the command is interrupted, repeat it.
    """
    condition = Condition(
        campaign_id=campaign,
        placement_id=placement,
        publisher_id=publisher,
        since=None if since is None else parse_moment("since", since),
        until=None if until is None else parse_moment("until", until),
    )
    if [entry_id is not None, file is not None, condition != Condition()].count(True) > 1:
        raise InvalidEntry("entry", "must be given alone: without --from and without conditions")
    if entry_id is not None:
        reversal = Reversal(entry_id, reason, key)
        _book(lambda connection: corrections.reverse(connection, reversal))
    else:
        entries = require_condition(condition) if file is None else read_entry_file(file)
        _reverse_set(SetReversal(entries, reason, key))


@ledger.command("sets")
def list_sets() -> None:
    """Show the sets of entries that were reversed under one key. The finance role may run this command."""

    async def run(url: str) -> list[SetProgress]:
        async with connected(url) as connection:
            return await correction_sets.read_sets(connection)

    with database_in_use(settings_from_environment()) as url:
        for item in asyncio.run(run(url)):
            state = f"unfinished, {item.remaining} remaining" if item.remaining else "complete"
            typer.echo(f"{item.key} {state}: {_describe(item)}, by {item.recorded_by}: {item.reason}")


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


def _reverse_set(wanted: SetReversal) -> None:
    async def run(url: str) -> tuple[SetProgress, bool, list[tuple[str, Decimal]]]:
        with progress("entries") as show:
            async with connected(url) as connection:
                reached, is_repeat = await reverse_set(connection, wanted, show)
                return reached, is_repeat, await correction_sets.sum_amounts(connection, wanted.key)

    with ready_database() as url:
        reached, is_repeat, amounts = asyncio.run(run(url))
    verb = "was already recorded" if is_repeat else "recorded"
    total = ", ".join(f"{amount:+.6f} {currency}" for currency, amount in amounts) or "nothing"
    typer.echo(f"set {reached.key} {verb}: {_describe(reached)}; {total} booked")


def _describe(item: SetProgress) -> str:
    skipped = f", {item.skipped} already reversed before" if item.skipped else ""
    return f"{item.reversed} of {item.entries} entries reversed{skipped}"


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
