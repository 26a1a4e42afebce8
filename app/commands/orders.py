"""`adserver orders`: the money of orders, and credits of prepaid ones."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from app.accounting.corrections import parse_amount
from app.accounting.credits import BookedCredit, Credit, credit_order
from app.commands.command_context import connected, ready_database
from app.launch.databases import database_in_use
from app.launch.env_settings import settings_from_environment
from app.store.finance_reports import OrderMoney, read_orders

orders = typer.Typer(name="orders", help="Credit prepaid orders and show the money of orders.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(orders)


@orders.command()
def credit(
    order_id: Annotated[str, typer.Argument(help="Prepaid order to credit.")],
    amount: Annotated[str, typer.Option(help="Amount that was paid; negative to take back what is not spent.")],
    key: Annotated[str, typer.Option(help="Idempotency key: repeating a key shows its credit and books nothing.")],
    reason: Annotated[str, typer.Option(help="Reason, such as the number of the payment.")],
) -> None:
    """Add an amount to what the campaigns of a prepaid order may spend."""
    wanted = Credit(order_id, parse_amount(amount), reason, key)

    async def run(url: str) -> BookedCredit:
        async with connected(url) as connection:
            return await credit_order(connection, wanted)

    with ready_database() as url:
        booked = asyncio.run(run(url))
    verb = "was already credited" if booked.is_repeat else "credited"
    typer.echo(
        f"order {booked.order_id} {verb}: {booked.amount:+.6f} {booked.currency}; {booked.credited:.6f} credited, "
        f"{booked.used:.6f} spent and held, {booked.remaining:.6f} remaining"
    )


@orders.command("list")
def list_orders() -> None:
    """Show what every order has spent, holds and may still spend. The finance role may run this command."""

    async def run(url: str) -> Sequence[OrderMoney]:
        async with connected(url) as connection:
            return await read_orders(connection)

    with database_in_use(settings_from_environment()) as url:
        for order in asyncio.run(run(url)):
            remaining = "no limit" if order.remaining is None else f"{order.remaining:.6f} remaining"
            typer.echo(
                f"{order.order_id} {order.booked:.6f} {order.currency} booked, {order.held:.6f} held, {remaining}"
            )
