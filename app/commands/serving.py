"""Commands of whoever runs the server: run it, serve from it, migrate its database, reach that database."""

import enum
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from app.errors import StoreUnavailable
from app.launch import migrating, running
from app.launch.configuring import settings_from_environment
from app.launch.databases import Database, configured_or_running, database_in_use, finance_url
from app.settings import Settings
from app.store.url_parameters import read_url


class Reader(enum.StrEnum):
    """Who connects."""

    OWNER = "owner"
    FINANCE = "finance"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (run, serve, migrate, dsn):
        app.command()(command)


def run() -> None:
    """Start all of it: a database unless one is configured, its migrations, demo content, and the server."""
    settings = settings_from_environment()
    running.run(settings, typer.echo, lambda database: typer.echo(_welcome(settings, database)))


def serve() -> None:
    """Start the server alone, on a database that is migrated."""
    settings = settings_from_environment()
    running.serve(settings, typer.echo, lambda: typer.echo(f"Serving on {settings.beacon_base_url}"))


def migrate() -> None:
    """Bring the schema of the database in use to what this version needs."""
    with database_in_use(settings_from_environment(), make=True) as url:
        migrating.migrate(url, lambda revision: typer.echo(f"Migrated to {revision}."), on_wait=typer.echo)
        migrating.require_schema(url)


def dsn(role: Annotated[Reader, typer.Option(help="Who connects.")] = Reader.OWNER) -> None:
    """Print the connection URL of the database in use, for psql and the like."""
    settings = settings_from_environment()
    url = finance_url(settings) if role is Reader.FINANCE else configured_or_running(settings)
    if url is None:
        raise StoreUnavailable("the embedded Postgres does not run; start it with `adserver run`")
    typer.echo(read_url(url).psql_url)


def _welcome(settings: Settings, database: Database) -> str:
    adserver = Path(sys.argv[0])
    psql = database.server.programs / "psql" if database.server else shutil.which("psql") or "psql"
    lines = {
        "Ad tag": f"{settings.beacon_base_url}/vast?placement_id=preroll&user_id=you",
        "Demo": f"{settings.beacon_base_url}/demo",
        "Finance": f'{psql} "$({adserver} dsn --role finance)" -c "TABLE finance.campaign_spend"',
        "DBA": f'{psql} "$({adserver} dsn)"',
    }
    if database.server:
        lines["Database"] = f"embedded Postgres in {database.server.root}"
    return "\n".join([*(f"{name + ':':10}{value}" for name, value in lines.items()), "Stop it with Ctrl-C."])
