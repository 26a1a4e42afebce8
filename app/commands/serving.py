"""Commands of whoever runs the server: run it, serve from it, migrate its database, reach that database."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from app.commands.roles import Role, url_of
from app.launch import migrate as migration
from app.launch import server
from app.launch.databases import Database, database_in_use
from app.launch.env_settings import settings_from_environment
from app.launch.exposure import with_reachable_public_url
from app.settings import Settings


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (run, serve, migrate, dsn):
        app.command()(command)


def run() -> None:
    """Start all of it: a database unless one is configured, its migrations, demo content, and the server."""
    settings = _settings_to_serve_with()
    server.run(settings, typer.echo, lambda database: typer.echo(_startup_banner(settings, database)))


def serve() -> None:
    """Start the server alone, on a database that is migrated."""
    settings = _settings_to_serve_with()
    server.serve(settings, typer.echo, lambda: typer.echo(f"Serving on {settings.beacon_base_url}"))


def migrate() -> None:
    """Bring the schema of the database in use to what this version needs."""
    with database_in_use(settings_from_environment(), make=True) as url:
        migration.migrate(url, lambda revision: typer.echo(f"Migrated to {revision}."), on_wait=typer.echo)
        migration.require_schema(url)


def dsn(role: Annotated[Role, typer.Option(help="Who connects.")] = Role.OWNER) -> None:
    """Print the connection URL of the database in use, with its password: for variables, not for command lines."""
    typer.echo(url_of(role, settings_from_environment()))


def _settings_to_serve_with() -> Settings:
    """The settings; says so if beacons lead to an address that was not set."""
    settings = settings_from_environment()
    reachable = with_reachable_public_url(settings)
    if reachable != settings:
        typer.echo(
            f"ADSERVER_PUBLIC_URL is not set, and players cannot connect to {settings.host}: beacons and clicks lead to"
            f" {reachable.public_url}. Set it to the URL that players reach.",
            err=True,
        )
    return reachable


def _startup_banner(settings: Settings, database: Database) -> str:
    adserver = Path(sys.argv[0])
    lines = {
        "Ad tag": f"{settings.beacon_base_url}/vast?placement_id=preroll&user_id=you",
        "Demo": f"{settings.admin_base_url}/demo",
        "Finance": f'{adserver} psql --role finance -- -c "TABLE finance.campaign_spend"',
        "DBA": f"{adserver} psql",
    }
    if database.server:
        lines["Database"] = f"embedded Postgres in {database.server.root}"
    return "\n".join([*(f"{name + ':':10}{value}" for name, value in lines.items()), "Stop it with Ctrl-C."])
