"""Commands of ad operations: what campaigns there are, and why one did not serve."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from app.campaign_file.applying import Applied, apply_in
from app.campaign_file.reading import read_file
from app.campaign_file.writing import toml
from app.launch.configuring import settings_from_environment
from app.launch.databases import database_in_use
from app.launch.migrating import require_schema
from app.store import catalog
from app.store.connections import connect


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(apply)
    app.command()(export)


@contextmanager
def _ready_database() -> Iterator[str]:
    """The connection URL of the database in use, whose schema is what this code needs."""
    with database_in_use(settings_from_environment()) as url:
        require_schema(url)
        yield url


def apply(file: Annotated[Path, typer.Argument(help="The campaign file, in TOML.")]) -> None:
    """Create and update campaigns and all that belongs to them from a file: all of it, or nothing."""
    draft = read_file(file)

    async def run(url: str) -> Applied:
        async with connect(url) as connection, connection.transaction():
            return await apply_in(connection, draft)

    with _ready_database() as url:
        applied = asyncio.run(run(url))
    for verb, names in (("created", applied.created), ("updated", applied.updated)):
        for name in names:
            typer.echo(f"{verb}  {name}")
    for note in applied.notes:
        typer.echo(f"note: {note}")
    typer.echo(
        f"{len(applied.created)} created, {len(applied.updated)} updated, {len(applied.unchanged)} unchanged; "
        f"the catalog is at revision {applied.revision}"
    )


def export() -> None:
    """Print everything that is set up as a campaign file."""

    async def run(url: str) -> str:
        async with connect(url) as connection:
            return toml(await catalog.load(connection))

    with _ready_database() as url:
        typer.echo(asyncio.run(run(url)), nl=False)
