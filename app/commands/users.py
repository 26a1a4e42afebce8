"""`adserver users`: what there is of a viewer, and how it goes."""

import asyncio
from typing import Annotated

import typer

from app.commands.command_context import connected, ready_database, secrets_in_use
from app.maintenance import erasure
from app.maintenance.erasure import ErasedCounts
from app.serving.keys import device_key, hash_key, user_key

users = typer.Typer(name="users", help="What is kept of viewers.", no_args_is_help=True)


@users.callback()
def _users() -> None:
    """Makes `forget` a command of its own, though it is the only one."""


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(users)


@users.command()
def forget(user_id: Annotated[str, typer.Argument(help="The user_id or device_id as players send it.")]) -> None:
    """Make the serves of a user nobody's, and remove the user's counts, sessions and upstreams' documents.

    What was spent stays.
    """

    async def run(url: str) -> ErasedCounts:
        user_keys = [of(hash_key(secret), user_id) for secret in secrets_in_use() for of in (user_key, device_key)]
        async with connected(url) as connection:
            return await erasure.erase_viewer(connection, user_keys)

    with ready_database() as url:
        forgotten = asyncio.run(run(url))
    documents = f", {forgotten.documents} documents" if forgotten.documents else ""
    typer.echo(
        f"forgotten: {forgotten.serves} serves, {forgotten.counts} counts, {forgotten.sessions} sessions{documents}"
    )
