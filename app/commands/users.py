"""`adserver users`: stored data of viewers."""

import asyncio
from typing import Annotated

import typer

from app.commands.command_context import connected, ready_database, secrets_in_use
from app.maintenance import erasure
from app.maintenance.erasure import ErasedCounts
from app.serving.keys import device_key, hash_key, user_key

users = typer.Typer(name="users", help="Manage stored viewer data.", no_args_is_help=True)


@users.callback()
def _user_group() -> None:
    """Keep `forget` a subcommand: typer would otherwise merge a group's only command into the group."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(users)


@users.command()
def forget(user_id: Annotated[str, typer.Argument(help="user_id or device_id, as sent by players.")]) -> None:
    """Erase a viewer's identity from the database.

    Anonymizes the viewer's serves, and deletes the viewer's counts, sessions and upstream documents. Spend does not
    change.
    """

    async def run(url: str) -> ErasedCounts:
        user_keys = [
            make_key(hash_key(secret), user_id) for secret in secrets_in_use() for make_key in (user_key, device_key)
        ]
        async with connected(url) as connection:
            return await erasure.erase_viewer(connection, user_keys)

    with ready_database() as url:
        erased = asyncio.run(run(url))
    documents = f", {erased.documents} documents" if erased.documents else ""
    typer.echo(f"forgotten: {erased.serves} serves, {erased.counts} counts, {erased.sessions} sessions{documents}")
