"""`adserver creatives`: previews and checks of creatives."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated

import typer

from app.commands.command_context import ready_database, secrets_in_use
from app.creative_check.check import CreativeChecker, CreativeReport, UrlReport
from app.creative_check.client import FileClient
from app.creative_check.rules import Finding, Severity
from app.domain import CampaignStatus, Catalog, Creative, CreativeStatus, VastVersion
from app.errors import InvalidEntry
from app.launch.databases import command_store
from app.launch.env_settings import settings_from_environment
from app.launch.exposure import with_reachable_public_url
from app.serving.previews import PreviewLinks, find_creative
from app.store import catalog_reader

CHECKED_MAX = 1000
"""Creatives of one check of all; `--after` continues it."""

creatives = typer.Typer(name="creatives", help="Preview and check creatives.", no_args_is_help=True)


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


@creatives.command()
def check(
    creative_id: Annotated[str | None, typer.Argument(help="Creative to check.")] = None,
    *,
    check_all: Annotated[
        bool, typer.Option("--all", help=f"Check the creatives that may be served, at most {CHECKED_MAX:,}.")
    ] = False,
    after: Annotated[str, typer.Option(metavar="ID", help="With --all: continue after this creative.")] = "",
) -> None:
    """Ask for the files of a creative, and name what players will not take.

    Requests no tracking URL. Exits with 1 if there is an error.
    """
    if check_all == (creative_id is not None):
        raise InvalidEntry("creative_id", "is required unless --all is given")
    with ready_database() as url:
        catalog = _catalog(url)
        listed = [find_creative(catalog, creative_id)] if creative_id is not None else _served_creatives(catalog, after)
    checked = listed[:CHECKED_MAX]
    errors, warnings = asyncio.run(_check(checked))
    typer.echo(f"{_counted(len(checked), 'creative')} checked: {_totals(errors, warnings)}")
    if len(listed) > CHECKED_MAX:
        typer.echo(f"there are {len(listed) - CHECKED_MAX} more: --all --after {checked[-1].id}")
    if errors:
        raise typer.Exit(1)


async def _check(checked: list[Creative]) -> tuple[int, int]:
    """Print the report on each creative; return the numbers of errors and warnings."""
    client = FileClient(settings_from_environment().allowed_networks)
    errors = warnings = 0
    try:
        async for report in CreativeChecker(client).check(checked):
            _print_report(report)
            errors += report.count(Severity.ERROR)
            warnings += report.count(Severity.WARNING)
    finally:
        await client.aclose()
    return errors, warnings


def _print_report(report: CreativeReport) -> None:
    totals = _totals(report.count(Severity.ERROR), report.count(Severity.WARNING))
    typer.echo(f"{report.creative.id}, campaign {report.creative.campaign_id}: {totals}")
    _print_findings(report.findings, "  ")
    for url in report.urls:
        typer.echo(f"  {url.checked.key} {url.checked.url}{_facts(url)}")
        _print_findings(url.findings, "    ")


def _print_findings(findings: Iterable[Finding], indent: str) -> None:
    for finding in findings:
        typer.echo(f"{indent}{finding.severity}: {finding.text}")


def _facts(report: UrlReport) -> str:
    answer = report.answer
    if answer is None:
        return ""
    size = None if answer.size_bytes is None else f"{answer.size_bytes:,} bytes"
    return f" ({', '.join(filter(None, (str(answer.status), answer.media_type, size)))})"


def _totals(errors: int, warnings: int) -> str:
    return f"{_counted(errors, 'error')}, {_counted(warnings, 'warning')}" if errors or warnings else "no faults"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _served_creatives(catalog: Catalog, after: str) -> list[Creative]:
    """Return the creatives with a later id than `after` that may be served at some time, in id order."""
    found = [
        creative
        for campaign_id, listed in catalog.creatives.items()
        if catalog.campaigns[campaign_id].status is not CampaignStatus.ENDED
        for creative in listed
        if creative.status is not CreativeStatus.ARCHIVED and creative.id > after
    ]
    return sorted(found, key=lambda creative: creative.id)


def _catalog(url: str) -> Catalog:
    async def load() -> Catalog:
        async with command_store(url) as store, store.connection() as connection:
            return await catalog_reader.load(connection)

    return asyncio.run(load())
