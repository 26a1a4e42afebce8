"""The roles that migrations create, and their passwords; on other Postgres servers the administrator gives them."""

from asyncpg import Connection, Record

APP = "adserver_app"
FINANCE = "adserver_finance"

FORMAT_LOGIN_GRANT = "SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)"
"""The statement that lets a role log in, quoted by Postgres, because DDL takes no parameters."""


async def grant_login(connection: "Connection[Record]", role: str, password: str) -> None:
    """Lets a role log in with a password."""
    await connection.execute(await connection.fetchval(FORMAT_LOGIN_GRANT, role, password))
