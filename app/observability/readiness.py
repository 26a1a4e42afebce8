"""Readiness of this worker: the database responds, accepts writes, has disk space, and its schema suits this code."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from asyncpg import Connection, Record

from app.errors import StoreUnavailable
from app.store.connections import Store, is_read_only
from app.store.disk_space import has_disk_space
from app.store.revision import current_revision, needed_revision, revisions

TIMEOUT_S = 2.0
"""Maximum time of a check; load balancers expect a quick response."""

DISK_CHECK_INTERVAL_S = 5.0
"""Minimum time between two checks of the disk, each of which writes a file: anybody may call `/readyz`."""

OK = "ok"


@dataclass(frozen=True, slots=True)
class ReadinessReport:
    """The response of `/readyz`."""

    ready: bool
    database: str
    """`ok`, or the reason why this worker cannot serve."""
    schema: str | None
    """The last migration that has run."""
    schema_needed: str
    breakers: Mapping[str, str]
    """State by upstream, of those that this worker has sent requests to. An open breaker does not make a worker
    unready, because campaigns have fallbacks."""


class Readiness:
    """Checks on demand."""

    def __init__(
        self,
        store: Store,
        breaker_states: Callable[[], Mapping[str, str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._breaker_states = breaker_states
        self._disk = _DiskCheck(clock)

    async def check(self) -> ReadinessReport:
        """Return the current state; never raises for a database that fails."""
        database, schema = OK, None
        try:
            async with asyncio.timeout(TIMEOUT_S), self._store.connection() as connection:
                schema = await current_revision(connection)
                database = _schema_fault(schema) or OK
                if await is_read_only(connection):
                    database = "is read-only"
                    # After a failover the next connection may lead to the primary.
                    await connection.close()
                elif database == OK and not await self._disk.has_space(connection):
                    database = "has no disk space left"
        except (StoreUnavailable, TimeoutError):
            database = "does not respond"
        return ReadinessReport(database == OK, database, schema, needed_revision(), self._breaker_states())


class _DiskCheck:
    """Checks the disk of the database, at most once in an interval for all callers."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = asyncio.Lock()
        self._has_space = False
        self._due_at = 0.0

    async def has_space(self, connection: "Connection[Record]") -> bool:
        """Return the result of the last check, or of a new one if it is due."""
        async with self._lock:
            if self._clock() >= self._due_at:
                self._has_space = await has_disk_space(connection)
                self._due_at = self._clock() + DISK_CHECK_INTERVAL_S
            return self._has_space


def _schema_fault(schema: str | None) -> str | None:
    """Return why this code cannot use the schema; an unknown revision is newer, because migrations run first."""
    if schema is None:
        return "has no schema"
    return "needs a migration" if schema in revisions()[1:] else None
