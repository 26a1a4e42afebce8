"""Commands of finance and of DBAs: the books, their proof, and their upkeep."""

import asyncio
from collections.abc import Mapping
from typing import Annotated

import typer

from app.accounting import month_close
from app.accounting import reconcile as reconciliation
from app.accounting.dates import parse_month
from app.accounting.month_close import MonthCheck
from app.commands.command_context import connected, progress, ready_database
from app.errors import AdServerError
from app.launch.databases import command_store
from app.launch.env_settings import settings_from_environment
from app.maintenance.tasks import Maintenance
from app.store.closed_months import ClosedMonth
from app.store.ledger_checks import RULES, Disagreement

DISAGREE = 1

books = typer.Typer(name="books", help="Close months, and prove what they were.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(reconcile)
    app.command()(maintain)
    app.add_typer(books)


def reconcile() -> None:
    """Check that counters, serves, caps and ledger agree; print every disagreement, and exit with 1 if there is one."""

    async def run(url: str) -> int:
        async with connected(url) as connection:
            return await reconciliation.reconcile(connection, _print_rule)

    with ready_database() as url:
        found = asyncio.run(run(url))
    if found:
        raise typer.Exit(DISAGREE)
    typer.echo("the books agree")


def maintain() -> None:
    """Do now what every server does by itself from time to time: make and drop partitions, sweep, roll up."""
    retention_days = settings_from_environment().retention_days

    async def run(url: str) -> Mapping[str, int | None]:
        async with command_store(url) as store:
            return await Maintenance(store, retention_days).run_all()

    with ready_database() as url:
        done = asyncio.run(run(url))
    for task, count in done.items():
        if count is not None:
            typer.echo(f"{task}: {count}")
    failed = [task for task, count in done.items() if count is None]
    if failed:
        raise AdServerError(f"not done, and to be tried again: {', '.join(failed)}")


@books.command()
def close(month: Annotated[str, typer.Argument(help="A UTC month that is over, such as 2026-10.")]) -> None:
    """Let no entry carry a date in that month any more, and keep a hash over those that do."""
    first_day = parse_month(month)

    async def run(url: str) -> ClosedMonth:
        with progress("entries") as show:
            async with connected(url) as connection:
                return await month_close.close(connection, first_day, show)

    with ready_database() as url:
        typer.echo(_month_line(asyncio.run(run(url))))


@books.command()
def verify() -> None:
    """Hash every closed month again; exit with 1 if one is not what it was when it was closed."""
    verdicts: list[MonthCheck] = []

    async def run(url: str) -> int:
        with progress("entries") as show:
            async with connected(url) as connection:
                return await month_close.verify(connection, verdicts.append, show)

    with ready_database() as url:
        faults = asyncio.run(run(url))
    for verdict in verdicts:
        typer.echo(f"{_month_line(verdict.month)}: {f'WRONG, {verdict.fault}' if verdict.fault else 'ok'}")
    if faults:
        raise typer.Exit(DISAGREE)


def _month_line(closed: ClosedMonth) -> str:
    return (
        f"{closed.month:%Y-%m} closed at {closed.closed_at.isoformat(timespec='seconds')} by {closed.closed_by}, "
        f"{closed.entries} entries, hash {closed.hash.hex()}"
    )


def _print_rule(rule: str, wrong: list[Disagreement], seconds: float) -> None:
    verdict = "ok" if not wrong else "WRONG"
    typer.echo(f"{rule:10}  {RULES[rule]}: {verdict} ({seconds:.1f} s)")
    for one in wrong:
        typer.echo(
            f"{'':10}  {one.campaign_id}: {one.subject}: {one.explanation}: expected {one.expected}, is {one.actual}"
        )
    if len(wrong) == reconciliation.LIMIT:
        typer.echo(f"{'':10}  and there may be more; these are the first {reconciliation.LIMIT}")
