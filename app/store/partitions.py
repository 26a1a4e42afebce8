"""Upkeep: partitions ahead and behind, rollups, and rows whose time is over. Any number of servers may do it."""

from asyncpg import Connection, Record

MAKE_PARTITIONS = "SELECT make_partitions($1)"
"""Makes the partitions from yesterday to so many days ahead."""

COUNT_DAYS_AHEAD = "SELECT partitions_ahead()"
"""How many days after today have all their partitions; -1 when today has not."""

CHECK_MISPLACED_ROWS = "SELECT misplaced_rows()"
"""Whether rows went to a default partition because theirs was missing."""

DROP_OLDEST_PARTITION = "SELECT drop_partition($1, (adserver_clock() AT TIME ZONE 'UTC')::date - $2::int)"
"""Drops the oldest partition that is older than so many days; returns its name, or NULL when there is none."""


async def make_partitions(connection: "Connection[Record]", ahead_days: int) -> int:
    """Makes what is missing; returns how many. Raises LockNotAvailableError if it has to wait for long."""
    made: int = await connection.fetchval(MAKE_PARTITIONS, ahead_days)
    return made


async def count_days_ahead(connection: "Connection[Record]") -> int:
    """Days after today that have all their partitions; below 0, rows of today go to the default ones."""
    days: int = await connection.fetchval(COUNT_DAYS_AHEAD)
    return days


async def has_misplaced_rows(connection: "Connection[Record]") -> bool:
    """Whether a partition was missing when it was needed."""
    misplaced: bool = await connection.fetchval(CHECK_MISPLACED_ROWS)
    return misplaced


async def drop_oldest_partition(connection: "Connection[Record]", parent: str, older_than_days: int) -> str | None:
    """Drops one; returns its name. Raises LockNotAvailableError if it has to wait for long."""
    name: str | None = await connection.fetchval(DROP_OLDEST_PARTITION, parent, older_than_days)
    return name
