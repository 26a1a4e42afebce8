"""The worker's copy of the catalog, reloaded when the database's revision has moved."""

import asyncio

from app.domain import Catalog
from app.store import catalog_reader
from app.store.connections import Store


class CatalogHolder:
    """Holds the newest catalog this worker has seen.

    A serving transaction compares its revision with the database's, so a stale copy is never served from; this
    class only fetches the new one, once for however many ask.
    """

    def __init__(self, store: Store, current: Catalog) -> None:
        self._store = store
        self._reloading = asyncio.Lock()
        self._clock = asyncio.get_running_loop().time
        self._looked_at = self._clock()
        """When the last look at the database's revision began."""
        self.current = current

    @classmethod
    async def open(cls, store: Store) -> "CatalogHolder":
        """Loads the catalog for the first time."""
        async with store.connection() as connection:
            return cls(store, await catalog_reader.load(connection))

    async def reload(self, seen: Catalog) -> None:
        """Loads the catalog again, unless somebody has since `seen` was current, or has just looked in vain."""
        asked_at = self._clock()
        async with self._reloading:
            if self.current is not seen or self._looked_at > asked_at:
                return
            looked_at = self._clock()
            async with self._store.connection() as connection:
                if await catalog_reader.read_revision(connection) != seen.revision:
                    self.current = await catalog_reader.load(connection, seen)
            self._looked_at = looked_at
