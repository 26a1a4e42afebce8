"""The worker's copy of the catalog, reloaded when the database has a new revision."""

import asyncio

from app.domain import Catalog
from app.store import catalog_reader
from app.store.connections import Store


class CatalogHolder:
    """Holds the newest catalog that this worker has loaded.

    A serving transaction compares the catalog's revision with the database's, so no ad is served from a stale copy.
    This class only loads the new catalog, once for all callers that need it.
    """

    def __init__(self, store: Store, current: Catalog) -> None:
        self._store = store
        self._reloading = asyncio.Lock()
        self._clock = asyncio.get_running_loop().time
        self._checked_at = self._clock()
        """When the last check of the database's revision began, in seconds of the event loop's clock."""
        self.current = current

    @classmethod
    async def open(cls, store: Store) -> "CatalogHolder":
        """Return a holder with the database's present catalog."""
        async with store.connection() as connection:
            return cls(store, await catalog_reader.load(connection))

    async def reload(self, seen: Catalog) -> None:
        """Load the catalog if the database has another revision than `seen`.

        Do nothing if `seen` is not current any more, or if a check that began after this call found no change.
        """
        called_at = self._clock()
        async with self._reloading:
            if self.current is not seen or self._checked_at > called_at:
                return
            checked_at = self._clock()
            async with self._store.connection() as connection:
                if await catalog_reader.read_revision(connection) != seen.revision:
                    self.current = await catalog_reader.load(connection, seen)
            self._checked_at = checked_at
