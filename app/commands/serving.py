"""Commands for operators: run and serve the ad server, migrate its database, print its connection URL."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from app.commands.roles import Role, role_connection_url
from app.launch import migrate as migration
from app.launch import server
from app.launch.databases import Database, database_in_use
from app.launch.env_settings import settings_from_environment
from app.launch.exposure import with_reachable_public_url
from app.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (run, serve, migrate, dsn):
        app.command()(command)


def run() -> None:
    """Start database, migrations, demo and server.

    Uses the database of ADSERVER_DATABASE_URL if it is set, and an embedded Postgres otherwise.
    """
    settings = _serving_settings()
    server.run(settings, typer.echo, lambda database: typer.echo(_startup_banner(settings, database)))


def serve() -> None:
    """Start the server on a database that is already migrated."""
    settings = _serving_settings()
    server.serve(settings, typer.echo, lambda: typer.echo(f"Serving on {settings.beacon_base_url}"))


def migrate() -> None:
    """Migrate the database in use to the schema of this version."""
    with database_in_use(settings_from_environment(), make=True) as url:
        migration.migrate(url, lambda revision: typer.echo(f"Migrated to {revision}."), on_wait=typer.echo)
        migration.require_schema(url)


def dsn(role: Annotated[Role, typer.Option(help="Database role to connect as.")] = Role.OWNER) -> None:
    """Print the connection URL of the database in use, with password.

    Pass it in environment variables: other users of the machine can see command lines.
    """
    typer.echo(role_connection_url(role, settings_from_environment()))


def _serving_settings() -> Settings:
    """Return the settings; print a warning if beacons use an address that was not set explicitly."""
    settings = settings_from_environment()
    reachable = with_reachable_public_url(settings)
    if reachable != settings:
        typer.echo(
            f"ADSERVER_PUBLIC_URL is not set, and players cannot connect to {settings.host}: beacon and click URLs use"
            f" {reachable.public_url}. Set it to the URL at which players reach this server.",
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
    return "\n".join([*(f"{name + ':':10}{value}" for name, value in lines.items()), "Press Ctrl-C to stop."])
