"""The worker's copy of the catalog, reloaded when the database's revision has moved."""

import asyncio

from app.domain import Catalog
from app.store import catalog
from app.store.connections import Store


class CatalogHolder:
    """Holds the newest catalog this worker has seen.

    A serving transaction compares its revision with the database's, so a stale copy is never served from; this
    class only fetches the new one, once for however many ask.
    """

    def __init__(self, store: Store, current: Catalog) -> None:
        self._store = store
        self._reloading = asyncio.Lock()
        self.current = current

    @classmethod
    async def open(cls, store: Store) -> "CatalogHolder":
        """Loads the catalog for the first time."""
        async with store.connection() as connection:
            return cls(store, await catalog.load(connection))

    async def reload(self, seen: Catalog) -> None:
        """Loads the catalog again, unless somebody has since `seen` was current."""
        async with self._reloading:
            if self.current is not seen:
                return
            async with self._store.connection() as connection:
                if await catalog.revision(connection) != seen.revision:
                    self.current = await catalog.load(connection)
