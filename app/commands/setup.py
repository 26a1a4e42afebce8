"""Commands of ad operations: what campaigns there are, and why one did not serve."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer

from app.campaign_file.applying import Applied
from app.campaign_file.applying import apply as apply_draft
from app.campaign_file.reading import read_file
from app.campaign_file.writing import toml
from app.launch.configuring import settings_from_environment
from app.launch.databases import database_in_use
from app.store import catalog
from app.store.connections import Store, Timeouts


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(apply)
    app.command()(export)


@asynccontextmanager
async def _store(url: str) -> AsyncIterator[Store]:
    """The database at this URL, for one command."""
    store = Store(url, serving_connections=1, other_connections=1, timeouts=Timeouts(5000, 30_000, 10_000))
    try:
        yield store
    finally:
        await store.close()


def apply(file: Annotated[Path, typer.Argument(help="The campaign file, in TOML.")]) -> None:
    """Create and update campaigns and all that belongs to them from a file: all of it, or nothing."""
    draft = read_file(file)

    async def run(url: str) -> Applied:
        async with _store(url) as store:
            return await apply_draft(store, draft)

    with database_in_use(settings_from_environment()) as url:
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
        async with _store(url) as store, store.connection() as connection:
            return toml(await catalog.load(connection))

    with database_in_use(settings_from_environment()) as url:
        typer.echo(asyncio.run(run(url)), nl=False)
