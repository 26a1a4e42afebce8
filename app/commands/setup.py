"""Commands for ad operations: apply and export campaign files, and explain decisions."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from app.campaign_file.apply import ApplyResult
from app.campaign_file.apply import apply as apply_draft
from app.campaign_file.exporter import to_toml
from app.campaign_file.parser import read_file
from app.commands.command_context import author_option, ready_database, secrets_in_use
from app.launch.databases import command_store
from app.launch.env_settings import settings_from_environment
from app.privacy.identification import identification_allowed
from app.serving.explain import Explanation
from app.serving.explain import explain as explain_request
from app.serving.keys import hash_key
from app.store import catalog_reader
from app.store.setup_history import ChangeOrigin
from app.targeting.places import PlaceReader
from app.targeting.viewer import ViewerReader
from app.web.query import ad_request, read_parameters


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(apply)
    app.command()(export)
    app.command()(explain)


def apply(
    file: Annotated[Path, typer.Argument(help="Campaign file (TOML).")],
    author: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Your name for the history. Default: the database role.")
    ] = None,
) -> None:
    """Apply a campaign file: create and update, all or nothing."""
    origin = ChangeOrigin(f"file {file}", author_option(author))
    draft = read_file(file)
    webhook_networks = settings_from_environment().webhook_private_networks

    async def run(url: str) -> ApplyResult:
        async with command_store(url) as store:
            return await apply_draft(store, draft, origin=origin, webhook_networks=webhook_networks)

    with ready_database() as url:
        result = asyncio.run(run(url))
    for verb, names in (("created", result.created), ("updated", result.updated)):
        for name in names:
            typer.echo(f"{verb}  {name}")
    for note in result.notes:
        typer.echo(f"note: {note}")
    typer.echo(
        f"{len(result.created)} created, {len(result.updated)} updated, {len(result.unchanged)} unchanged; "
        f"the catalog is at revision {result.revision}"
    )


def export() -> None:
    """Print the whole catalog as a campaign file."""

    async def run(url: str) -> str:
        async with command_store(url) as store, store.connection() as connection:
            return to_toml(await catalog_reader.load(connection))

    with ready_database() as url:
        # TOML is UTF-8, regardless of the terminal's encoding.
        typer.echo(asyncio.run(run(url)).encode(), nl=False)


def explain(
    request: Annotated[
        str, typer.Argument(help="Tag URL or its query string, such as 'placement_id=preroll&user_id=u1'.")
    ],
) -> None:
    """Explain which campaigns may serve an ad request now, and why.

    Prints the result and the numbers for each candidate campaign. Changes nothing.
    """
    parameters = read_parameters(request.partition("?")[2].encode() if "?" in request else request.encode())
    values = parameters.values
    parsed_request = ad_request(values, identifiable=identification_allowed(values))

    async def run(url: str) -> Explanation:
        async with command_store(url) as store, store.connection() as connection:
            return await explain_request(connection, parsed_request, hash_key(secrets_in_use()[0]), _viewers())

    with ready_database() as url:
        explanation = asyncio.run(run(url))
    typer.echo(
        f"at {explanation.decided_at.isoformat(timespec='seconds')}, for {' '.join(sorted(values)) or 'nothing'}"
    )
    if parameters.ignored:
        typer.echo(f"ignored (unreadable or a placeholder): {' '.join(parameters.ignored)}")
    for number, verdict in enumerate(explanation.verdicts, start=1):
        typer.echo(f"{number}. {verdict.campaign_id}: {f'no, {verdict.reason}' if verdict.reason else 'may serve'}")
        for fact in verdict.facts:
            typer.echo(f"   {fact}")
    for note in explanation.notes:
        typer.echo(note)


def _viewers() -> ViewerReader:
    """Return the reader of viewers, with the file of places that the server uses."""
    file = settings_from_environment().geoip_file
    return ViewerReader() if file is None else ViewerReader(PlaceReader(file))
