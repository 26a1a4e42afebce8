"""Partitions of the large tables: create them ahead of time, check them, and drop the old ones."""

from asyncpg import Connection, Record

MAKE_PARTITIONS = "SELECT make_partitions($1)"
"""Create the missing partitions from yesterday to the given number of days ahead."""

COUNT_DAYS_AHEAD = "SELECT partitions_ahead()"
"""Count the days after today that have all their partitions; -1 if today has not."""

CHECK_MISPLACED_ROWS = "SELECT misplaced_rows()"
"""Check whether a default partition has rows, because their own partition was missing."""

DROP_OLDEST_PARTITION = "SELECT drop_partition($1, (adserver_clock() AT TIME ZONE 'UTC')::date - $2::int)"
"""Drop the oldest partition if it is older than the given number of days; return its name, or NULL."""


async def make_partitions(connection: "Connection[Record]", ahead_days: int) -> int:
    """Create the missing partitions and return their number; raises LockNotAvailableError if a lock takes too long."""
    made: int = await connection.fetchval(MAKE_PARTITIONS, ahead_days)
    return made


async def count_days_ahead(connection: "Connection[Record]") -> int:
    """Return the number of days after today that have all their partitions.

    Below 0, the rows of today go to the default partitions.
    """
    days: int = await connection.fetchval(COUNT_DAYS_AHEAD)
    return days


async def has_misplaced_rows(connection: "Connection[Record]") -> bool:
    """Return whether a partition was missing when it was needed."""
    misplaced: bool = await connection.fetchval(CHECK_MISPLACED_ROWS)
    return misplaced


async def drop_oldest_partition(connection: "Connection[Record]", parent: str, older_than_days: int) -> str | None:
    """Drop one partition and return its name, or None; raises LockNotAvailableError if a lock takes too long."""
    name: str | None = await connection.fetchval(DROP_OLDEST_PARTITION, parent, older_than_days)
    return name
