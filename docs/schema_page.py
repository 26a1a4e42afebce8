"""Write docs/schema.sql from a migrated database: `make docs`."""

import asyncio
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from asyncpg import Connection, Record
from sqlalchemy import Table

from app.embedded import EmbeddedPostgres
from app.launch.migrate import migrate
from app.store.connections import connect
from app.store.tables import (
    accounting,
    archive,
    catalog,
    correction_sets,
    creatives,
    delivery,
    invoices,
    outbox,
    serving,
    third_party,
)
from docs import schema_queries

PAGE = Path(__file__).with_name("schema.sql")

HEAD = """\
-- The schema that `adserver migrate` creates, to be read and not to be run: `make docs` writes this file.
-- Every object belongs to adserver_owner. The partitions of days and months are left out.
"""


async def page(connection: "Connection[Record]") -> str:
    """Return the page for the schema of this database, which is migrated."""
    sections = [HEAD, await _roles(connection)]
    for module in (
        catalog,
        creatives,
        serving,
        delivery,
        accounting,
        correction_sets,
        third_party,
        archive,
        invoices,
        outbox,
    ):
        sections.append(_heading(module.__doc__ or ""))
        sections += [await _table(connection, name) for name in _tables(module)]
    sections += [_heading("Functions."), *await _functions(connection)]
    sections += [_heading("The schema finance."), *await _schema(connection), *await _views(connection)]
    return "\n".join(sections)


def _heading(text: str) -> str:
    return f"\n-- {'=' * 100}\n-- {text}\n"


def _tables(module: ModuleType) -> list[str]:
    return [table.name for table in vars(module).values() if isinstance(table, Table)]


async def _roles(connection: "Connection[Record]") -> str:
    lines = [_heading("Roles. They have no password and cannot log in until they are given one.")]
    for role, settings in await connection.fetch(schema_queries.ROLES):
        lines.append(f"CREATE ROLE {role};")
        lines += [f"ALTER ROLE {role} SET {setting};" for setting in settings or ()]
    lines += [row[0] for row in await connection.fetch(schema_queries.ROLE_LIMITS)]
    lines.append("-- Only adserver_owner and adserver_app may use these, where the role that migrates can ensure it:")
    lines += [f"--   {row[0]}" for row in await connection.fetch(schema_queries.RESERVED)]
    return "\n".join([*lines, ""])


async def _table(connection: "Connection[Record]", name: str) -> str:
    comment, storage = await connection.fetchrow(schema_queries.TABLE, name) or ("", "")
    columns = await connection.fetch(schema_queries.COLUMNS, name)
    constraints = [f"    {row[0]}" for row in await connection.fetch(schema_queries.CONSTRAINTS, name)]
    lines = [f"-- {comment}.", f"CREATE TABLE {name} ("]
    lines += [f"    {f'{definition},':58} -- {text}" for definition, text in columns]
    lines += [",\n".join(constraints), f"){storage};"]
    lines += [row[0] for row in await connection.fetch(schema_queries.BELONGINGS, name)]
    return "\n".join([*lines, ""])


async def _functions(connection: "Connection[Record]") -> list[str]:
    return [
        "\n".join([f"-- {comment}.", f"{definition.rstrip()};", *privileges, ""])
        for comment, definition, privileges in await connection.fetch(schema_queries.FUNCTIONS)
    ]


async def _schema(connection: "Connection[Record]") -> list[str]:
    return [
        "\n".join([f"-- {comment}.", "CREATE SCHEMA finance;", *privileges, ""])
        for comment, privileges in await connection.fetch(schema_queries.FINANCE)
    ]


async def _views(connection: "Connection[Record]") -> list[str]:
    views = []
    for name, comment, definition, privileges in await connection.fetch(schema_queries.VIEWS):
        columns = [f"--   {text}" for (text,) in await connection.fetch(schema_queries.VIEW_COLUMNS, name)]
        views.append(
            "\n".join([f"-- {name}: {comment}.", *columns, f"CREATE VIEW {name} AS\n{definition}", *privileges, ""])
        )
    return views


async def _page_of(url: str) -> str:
    async with connect(url) as connection:
        return await page(connection)


def _write() -> str:
    # Started by root, Postgres runs as another user, who must be able to enter the folder.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        with EmbeddedPostgres(Path(folder)) as server:
            migrate(server.dsn)
            return asyncio.run(_page_of(server.dsn))


if __name__ == "__main__":
    sys.stdout.write(_write())
