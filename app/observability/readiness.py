"""Whether this worker can serve: the database answers and takes writes, and this code can work with its schema."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.errors import StoreUnavailable
from app.store.connections import Store, is_read_only
from app.store.revision import current_revision, needed_revision, revisions

PATIENCE_S = 2.0
"""A load balancer that asks wants to know soon."""


@dataclass(frozen=True, slots=True)
class Look:
    """What `/readyz` shows."""

    ready: bool
    database: str
    """`ok`, or what is wrong."""
    schema: str | None
    """The last migration that has run."""
    schema_needed: str
    breakers: Mapping[str, str]
    """By upstream, of those that this worker has asked. An open one makes nobody unready: there are fallbacks."""


class Readiness:
    """Looks each time it is asked."""

    def __init__(self, store: Store, breaker_states: Callable[[], Mapping[str, str]]) -> None:
        self._store = store
        self._breaker_states = breaker_states

    async def look(self) -> Look:
        """The state of now; never raises for what it is to find out."""
        database, schema = "ok", None
        try:
            async with asyncio.timeout(PATIENCE_S), self._store.connection() as connection:
                schema = await current_revision(connection)
                database = _fault(schema)
                if await is_read_only(connection):
                    database = "can only be read"
                    # After a failover the next connection may lead to the primary.
                    await connection.close()
        except (StoreUnavailable, TimeoutError):
            database = "does not answer"
        return Look(database == "ok", database, schema, needed_revision(), self._breaker_states())


def _fault(schema: str | None) -> str:
    """A schema that this code has never heard of is newer: migrations run before the servers are exchanged."""
    if schema is None:
        return "is not migrated"
    return "needs a migration" if schema in revisions()[1:] else "ok"
