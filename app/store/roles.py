"""The roles that migrations create. With external Postgres servers, an administrator sets their passwords."""

from asyncpg import Connection, Record

APP = "adserver_app"
FINANCE = "adserver_finance"

FORMAT_LOGIN_GRANT = "SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)"
"""Format the statement that grants login to a role; Postgres quotes the values, because DDL takes no parameters."""


async def grant_login(connection: "Connection[Record]", role: str, password: str) -> None:
    """Allow a role to log in with a password."""
    await connection.execute(await connection.fetchval(FORMAT_LOGIN_GRANT, role, password))
