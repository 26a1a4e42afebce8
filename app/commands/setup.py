"""Commands of ad operations: what campaigns there are, and why one did not serve."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from app.campaign_file.apply import ApplyResult
from app.campaign_file.apply import apply as apply_draft
from app.campaign_file.exporter import to_toml
from app.campaign_file.parser import read_file
from app.commands.command_context import ready_database, secrets_in_use
from app.launch.databases import command_store
from app.privacy.identification import identification_allowed
from app.serving.explain import Explanation
from app.serving.explain import explain as explain_request
from app.serving.keys import hash_key
from app.store import catalog_reader
from app.web.query import ad_request, read_parameters


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(apply)
    app.command()(export)
    app.command()(explain)


def apply(file: Annotated[Path, typer.Argument(help="The campaign file, in TOML.")]) -> None:
    """Create and update campaigns and all that belongs to them from a file: all of it, or nothing."""
    draft = read_file(file)

    async def run(url: str) -> ApplyResult:
        async with command_store(url) as store:
            return await apply_draft(store, draft)

    with ready_database() as url:
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
        async with command_store(url) as store, store.connection() as connection:
            return to_toml(await catalog_reader.load(connection))

    with ready_database() as url:
        # TOML is UTF-8, whatever the terminal is.
        typer.echo(asyncio.run(run(url)).encode(), nl=False)


def explain(
    request: Annotated[
        str, typer.Argument(help="The tag URL that was asked, or its query: 'placement_id=preroll&user_id=u1'.")
    ],
) -> None:
    """Tell for each campaign of an ad request whether it may serve now, and with which numbers. Changes nothing."""
    parameters = read_parameters(request.partition("?")[2].encode() if "?" in request else request.encode())
    values = parameters.values
    asked = ad_request(values, identifiable=identification_allowed(values))

    async def run(url: str) -> Explanation:
        async with command_store(url) as store, store.connection() as connection:
            return await explain_request(connection, asked, hash_key(secrets_in_use()[0]))

    with ready_database() as url:
        explanation = asyncio.run(run(url))
    typer.echo(f"at {explanation.at.isoformat(timespec='seconds')}, for {' '.join(sorted(values)) or 'nothing'}")
    if parameters.ignored:
        typer.echo(f"ignored, because they say nothing: {' '.join(parameters.ignored)}")
    for no, verdict in enumerate(explanation.verdicts, start=1):
        typer.echo(f"{no}. {verdict.campaign_id}: {f'no, {verdict.reason}' if verdict.reason else 'may serve'}")
        for fact in verdict.facts:
            typer.echo(f"   {fact}")
