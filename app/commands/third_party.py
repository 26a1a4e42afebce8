"""`adserver third-party`: what others counted, beside our own impressions."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from app.accounting.dates import parse_day
from app.accounting.third_party import ImportedCounts, import_counts, read_count_file
from app.commands.command_context import connected, ready_database
from app.errors import InvalidEntry
from app.launch.databases import database_in_use
from app.launch.env_settings import settings_from_environment
from app.store.third_party import Discrepancy, read_discrepancies

LINES_MAX = 10_000

third_party = typer.Typer(
    name="third-party", help="Compare impressions with what third parties counted.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(third_party)


@third_party.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV file: day, campaign, count. A header is optional.")],
    source: Annotated[str, typer.Option(help="Name of who counted.")] = "third-party",
) -> None:
    """Import the impressions that a third party counted, by day and campaign.

    A day is a day in the campaign's timezone. A newer count of a day replaces the earlier one, which stays in the
    history. Nothing is imported if a line is wrong.
    """
    listed = read_count_file(file)

    async def run(url: str) -> ImportedCounts:
        async with connected(url) as connection:
            return await import_counts(connection, source, listed)

    with ready_database() as url:
        done = asyncio.run(run(url))
    typer.echo(f"source {source}: {done.new} new counts, {done.replaced} replaced, {done.unchanged} unchanged")


@third_party.command("list")
def list_discrepancies(
    first: Annotated[str, typer.Option("--from", help="First day in the campaigns' timezones, such as 2026-10-01.")],
    last: Annotated[str, typer.Option("--to", help="Last day, inclusive.")],
    source: Annotated[str | None, typer.Option(help="Only what this source counted.")] = None,
    campaign: Annotated[str | None, typer.Option(help="Only this campaign.")] = None,
) -> None:
    """Show how the counts differ from ours, and of what the difference may consist.

    The finance role may run this command.
    """
    first_day, last_day = parse_day("from", first), parse_day("to", last)
    if first_day > last_day:
        raise InvalidEntry("from", f"must not be after --to ({last_day}), got {first_day}")

    async def run(url: str) -> list[Discrepancy]:
        async with connected(url) as connection:
            return await read_discrepancies(connection, first_day, last_day, source, campaign, LINES_MAX + 1)

    with database_in_use(settings_from_environment()) as url:
        found = asyncio.run(run(url))
    if len(found) > LINES_MAX:
        raise InvalidEntry("to", f"must be earlier: there are more than {LINES_MAX} lines")
    for item in found:
        typer.echo(_describe(item))


def _describe(item: Discrepancy) -> str:
    if item.difference is None:
        difference = "not reported"
    elif item.difference_percentage is None:
        difference = f"{item.difference:+}"
    else:
        difference = f"{item.difference:+} ({item.difference_percentage:+} %)"
    causes = ", ".join(
        f"{name} {'unknown' if number is None else number}"
        for name, number in (
            *(("late", item.late), ("error", item.error), ("expired", item.expired)),
            *(("repeat", item.repeat), ("reversed", item.reversed)),
        )
    )
    theirs = "" if item.theirs is None else f", theirs {item.theirs}"
    return f"{item.day} {item.campaign_id} {item.source}: ours {item.ours}{theirs}, {difference}; {causes}"
