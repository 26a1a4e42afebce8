"""`adserver payouts`: money paid to publishers."""

import asyncio
from typing import Annotated

import typer

from app.accounting.corrections import parse_amount
from app.accounting.payouts import Payout, RecordedPayout, record_payout
from app.commands.command_context import connected, ready_database

payouts = typer.Typer(name="payouts", help="Record what publishers were paid.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(payouts)


@payouts.callback()
def _group() -> None:
    """Keep `record` a command of a group, although it is the only one."""


@payouts.command()
def record(
    publisher_id: Annotated[str, typer.Argument(help="Publisher that was paid.")],
    amount: Annotated[str, typer.Option(help="Amount that was paid; negative if the publisher paid it back.")],
    key: Annotated[str, typer.Option(help="Idempotency key: repeating a key shows its payout and records nothing.")],
    currency: Annotated[
        str | None, typer.Option(help="Currency of the amount; default: the one in which the publisher earned.")
    ] = None,
) -> None:
    """Record a payout and show what the publisher is owed after it.

    It may be more than is owed: then it is an advance, and what is owed is negative.
    """
    payout = Payout(publisher_id, parse_amount(amount), key, currency)

    async def run(url: str) -> RecordedPayout:
        async with connected(url) as connection:
            return await record_payout(connection, payout)

    with ready_database() as url:
        paid = asyncio.run(run(url))
    verb = "was already recorded" if paid.is_repeat else "recorded"
    typer.echo(
        f"payout to {paid.publisher_id} {verb}: {paid.amount:.6f} {paid.currency}; "
        f"{paid.owed:.6f} {paid.currency} owed now"
    )
