"""Commands of finance and of DBAs: the books, their proof, and their upkeep."""

import asyncio

import typer

from app.books import reconciling
from app.launch.configuring import settings_from_environment
from app.launch.databases import database_in_use
from app.store.connections import connect
from app.store.reconcile import RULES, Disagreement

DISAGREE = 1


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(reconcile)


def reconcile() -> None:
    """Check that counters, serves, caps and ledger agree; print every disagreement, and exit with 1 if there is one."""

    async def run(url: str) -> int:
        async with connect(url) as connection:
            return await reconciling.reconcile(connection, _print_rule)

    with database_in_use(settings_from_environment()) as url:
        found = asyncio.run(run(url))
    if found:
        raise typer.Exit(DISAGREE)
    typer.echo("the books agree")


def _print_rule(rule: str, wrong: list[Disagreement], seconds: float) -> None:
    verdict = "ok" if not wrong else "WRONG"
    typer.echo(f"{rule:10}  {RULES[rule]}: {verdict} ({seconds:.1f} s)")
    for one in wrong:
        typer.echo(
            f"{'':10}  {one.campaign_id}: {one.subject}: {one.explanation}: expected {one.expected}, is {one.actual}"
        )
    if len(wrong) == reconciling.LIMIT:
        typer.echo(f"{'':10}  and there may be more; these are the first {reconciling.LIMIT}")
