"""Reloading the catalog for one request."""

import asyncio

from app.domain import CatalogSource
from app.errors import StoreUnavailable


async def reload_catalog(catalogs: CatalogSource, deadline_s: float) -> None:
    """Load changes of the catalog; raises StoreUnavailable if that takes longer than a request may."""
    try:
        async with asyncio.timeout(deadline_s):
            await catalogs.reload(catalogs.current)
    except TimeoutError:
        raise StoreUnavailable("the catalog could not be read in time") from None
