"""Whether this worker can serve: the database answers, and its schema is one that this code can work with."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.errors import StoreUnavailable
from app.store.connections import Store
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
        except (StoreUnavailable, TimeoutError):
            database = "does not answer"
        else:
            database = _fault(schema)
        return Look(database == "ok", database, schema, needed_revision(), self._breaker_states())


def _fault(schema: str | None) -> str:
    """A schema that this code has never heard of is newer: migrations run before the servers are exchanged."""
    if schema is None:
        return "is not migrated"
    return "needs a migration" if schema in revisions()[1:] else "ok"
