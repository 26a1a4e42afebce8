"""Check whether Postgres can still write to its disk."""

from asyncpg import Connection, DiskFullError, Record

USE_LITTLE_MEMORY = """
SELECT set_config('work_mem', '64kB', true), set_config('temp_tablespaces', '', true)
"""
"""Let the next statement of the transaction keep its rows on the disk of the database."""

WRITE_TEMPORARY_FILE = "SELECT count(*) FROM generate_series(1, 50000)"
"""Write a temporary file of about a megabyte, which Postgres removes immediately; nothing of it is logged."""


async def has_disk_space(connection: "Connection[Record]") -> bool:
    """Return whether a file of about a megabyte can be written beside the database's own."""
    try:
        async with connection.transaction():
            await connection.execute(USE_LITTLE_MEMORY)
            await connection.execute(WRITE_TEMPORARY_FILE)
    except DiskFullError:
        return False
    return True
