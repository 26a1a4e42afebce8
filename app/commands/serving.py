"""Commands of whoever runs the server: run it, serve from it, migrate its database, reach that database."""

import typer

from app.errors import StoreUnavailable
from app.launch.configuring import settings_from_environment
from app.launch.databases import configured_or_running, database_in_use
from app.launch.migrating import migrate as migrate_database


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(migrate)
    app.command()(dsn)


def migrate() -> None:
    """Bring the schema of the database in use to what this version needs."""
    with database_in_use(settings_from_environment()) as url:
        migrate_database(url, lambda revision: typer.echo(f"migrated to {revision}"))


def dsn() -> None:
    """Print the connection URL of the database in use, for psql and the like."""
    url = configured_or_running(settings_from_environment())
    if url is None:
        raise StoreUnavailable("the embedded Postgres does not run; start it with `adserver run`")
    typer.echo(url)
