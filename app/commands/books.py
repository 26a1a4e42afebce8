"""Commands for finance and DBAs: month close, reconciliation and maintenance."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from app.accounting import month_archive, month_close, receipts
from app.accounting import reconcile as reconciliation
from app.accounting.dates import parse_day, parse_month
from app.accounting.month_archive import Archive
from app.accounting.verification import Verification, verify_books
from app.commands.command_context import connected, progress, ready_database
from app.errors import AdServerError, InvalidEntry
from app.launch.databases import command_store
from app.launch.env_settings import settings_from_environment
from app.maintenance.tasks import Maintenance
from app.store.closed_months import ClosedMonth
from app.store.connections import snapshot
from app.store.ledger_checks import RULES, Disagreement
from app.store.month_archive import partition_name

EXIT_DISAGREEMENT = 1

books = typer.Typer(name="books", help="Close months and verify closed ones.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(reconcile)
    app.command()(maintain)
    app.add_typer(books)


def reconcile(
    since: Annotated[
        str | None, typer.Option(help="First UTC day to check, such as 2026-11-01; default: everything.")
    ] = None,
) -> None:
    """Check that counters, serves, caps and the ledger agree.

    Prints every disagreement, and exits with status 1 if there is one. The finance role may run this command, also on a
    standby; it checks everything but the counts of viewers.
    """
    first_day = None if since is None else parse_day("since", since)

    async def run(url: str) -> int:
        async with connected(url) as connection:
            return await reconciliation.reconcile(connection, _print_rule, since=first_day, on_skip=_print_skipped)

    with ready_database() as url:
        found = asyncio.run(run(url))
    if found:
        raise typer.Exit(EXIT_DISAGREEMENT)
    typer.echo("the books agree")


def maintain() -> None:
    """Run all maintenance tasks now.

    Creates and drops partitions, releases expired holds, removes old rows and rolls up days. Every server also runs
    these tasks periodically.
    """
    settings = settings_from_environment()

    async def run(url: str) -> Mapping[str, int | None]:
        async with command_store(url) as store:
            return await Maintenance(store, settings.retention_days, settings.budget_days).run_all()

    with ready_database() as url:
        results = asyncio.run(run(url))
    for task, count in results.items():
        if count is not None:
            typer.echo(f"{task}: {count}")
    failed = [task for task, count in results.items() if count is None]
    if failed:
        raise AdServerError(f"failed, try again: {', '.join(failed)}")


@books.command()
def close(month: Annotated[str, typer.Argument(help="Month that has ended, such as 2026-10.")]) -> None:
    """Close a month: reject further entries dated in it, and keep its figures and a hash.

    Prints a receipt of all closed months, to be kept where nobody who can change the books can change it. For a month
    that is closed already, it only prints a receipt of the books as they are now.
    """
    first_day = parse_month(month)

    async def run(url: str) -> list[str]:
        with progress("entries") as show:
            async with connected(url) as connection:
                await month_close.close_month(connection, first_day, show)
                async with snapshot(connection):
                    return await receipts.make_receipt(connection)

    with ready_database() as url:
        for line in asyncio.run(run(url)):
            typer.echo(line)


@books.command()
def archive(
    month: Annotated[str, typer.Argument(help="Closed month, such as 2026-10.")],
    to: Annotated[
        Path | None, typer.Option(help="Folder for the files; default: `archive` in the data directory.")
    ] = None,
    drop: Annotated[
        bool, typer.Option("--drop", help="Drop the detached table, after checking the files again.")
    ] = False,
) -> None:
    """Write the entries of a closed month to Parquet files, and detach them from the ledger.

    Needs the owner of the database. Repeat it with --drop to free the space once the files are safe.
    """
    first_day = parse_month(month)
    settings = settings_from_environment()
    folder = to or settings.data_dir / "archive"

    async def run(url: str) -> Archive:
        with progress("entries") as show:
            async with connected(url) as connection:
                return await month_archive.archive_month(connection, first_day, folder, drop=drop, progress=show)

    with ready_database() as url:
        made = asyncio.run(run(url))
    typer.echo(f"{month} archived: {made.entries} entries, {made.manifest}, SHA-256 {made.manifest_hash.hex()}")
    table = partition_name(first_day)
    typer.echo(f"table {table} was dropped" if made.dropped else f"table {table} is detached; --drop drops it")


@books.command()
def verify(
    month: Annotated[str | None, typer.Argument(help="Closed month to verify; default: all of them.")] = None,
    expect: Annotated[
        Path | None, typer.Option(help="Receipt that `adserver books close` printed; fail if anything differs.")
    ] = None,
    archive: Annotated[Path | None, typer.Option(help="Folder of archived months, to check their files too.")] = None,
) -> None:
    """Verify closed months, and the guards of the books.

    Computes the hashes again, and checks that every trigger and constraint is in force. Shows every repair. Exits with
    status 1 if a month or its archive has changed, a guard is missing, or something differs from the receipt. The
    finance role may run this command, also on a standby.
    """
    only_month = None if month is None else parse_month(month)
    receipt = None if expect is None else receipts.parse_receipt(_read_text("expect", expect))

    async def run(url: str) -> Verification:
        with progress("entries") as show:
            async with connected(url) as connection:
                return await verify_books(connection, only_month, receipt, show, archive)

    with ready_database() as url:
        verification = asyncio.run(run(url))
    for line in _verification_lines(verification):
        typer.echo(line)
    if verification.has_faults:
        raise typer.Exit(EXIT_DISAGREEMENT)


def _read_text(field: str, path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidEntry(field, f"cannot read {path}: {error}") from error


def _verification_lines(verification: Verification) -> Iterator[str]:
    for check in verification.months:
        yield f"{_month_line(check.month)}: {f'WRONG, {check.fault}' if check.fault else 'ok'}"
    for repair in verification.repairs:
        yield (
            f"repair {repair.repair_id} at {repair.repaired_at} by {repair.repaired_by}: {repair.operation} in "
            f"{repair.table_name}, {repair.reason!r}: {repair.old_row} -> {repair.new_row}"
        )
    yield from (f"guards: WRONG, {guard} is missing or not in force" for guard in verification.missing_guards)
    if not verification.missing_guards:
        yield f"guards: ok, {verification.guards} in force, digest {verification.guards_digest}"
    yield from (f"receipt: WRONG, {change}" for change in verification.changes or ())
    if verification.changes == []:
        yield "receipt: ok"


def _month_line(closed: ClosedMonth) -> str:
    return (
        f"{closed.month:%Y-%m} closed at {closed.closed_at.isoformat(timespec='seconds')} by {closed.closed_by}, "
        f"{closed.entries} entries, hash {closed.hash}"
    )


def _print_skipped(rule: str) -> None:
    typer.echo(f"{rule:10}  {RULES[rule]}: not checked, this role may not read what it compares")


def _print_rule(rule: str, disagreements: list[Disagreement], seconds: float) -> None:
    result = "WRONG" if disagreements else "ok"
    typer.echo(f"{rule:10}  {RULES[rule]}: {result} ({seconds:.1f} s)")
    for found in disagreements:
        typer.echo(
            f"{'':10}  {found.campaign_id}: {found.subject}: {found.explanation}: "
            f"expected {found.expected}, got {found.actual}"
        )
    if len(disagreements) == reconciliation.DISAGREEMENTS_MAX:
        typer.echo(f"{'':10}  there may be more; only the first {reconciliation.DISAGREEMENTS_MAX} are shown")
