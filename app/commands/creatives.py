"""`adserver creatives`: previews of creatives."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import typer

from app.commands.command_context import ready_database, secrets_in_use
from app.domain import Catalog, VastVersion
from app.launch.databases import command_store
from app.launch.env_settings import settings_from_environment
from app.launch.exposure import with_reachable_public_url
from app.serving.previews import PreviewLinks, find_creative
from app.store import catalog_reader

creatives = typer.Typer(name="creatives", help="Preview creatives.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(creatives)


@creatives.command()
def preview(
    creative_id: Annotated[str, typer.Argument(help="Creative to preview.")],
    vast_version: Annotated[VastVersion, typer.Option("--vast", help="VAST version.")] = VastVersion.V4_2,
) -> None:
    """Print a link to the VAST document of a creative, valid for a week.

    The link also works while the creative or its campaign is paused. It books and counts nothing.
    """
    with ready_database() as url:
        creative = find_creative(_catalog(url), creative_id)
        base_url = with_reachable_public_url(settings_from_environment()).beacon_base_url
        link = PreviewLinks(secrets_in_use(), base_url).link(creative, vast_version, datetime.now(UTC))
    typer.echo(link.url)


def _catalog(url: str) -> Catalog:
    async def load() -> Catalog:
        async with command_store(url) as store, store.connection() as connection:
            return await catalog_reader.load(connection)

    return asyncio.run(load())
