"""Keeps the places of addresses up to date while the server runs."""

import asyncio
from contextlib import suppress

import structlog

from app.errors import MisconfiguredServer
from app.targeting.places import PlaceReader

CHECK_INTERVAL_S = 30.0
"""Seconds between looks at the file."""

log = structlog.get_logger()


class PlaceReloader:
    """Reads the file of places again when it changes. Call `start` in the event loop, and `stop` at the end."""

    def __init__(self, places: PlaceReader, interval_s: float = CHECK_INTERVAL_S) -> None:
        self._places = places
        self._interval_s = interval_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start looking at the file."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop looking at the file."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def check(self) -> None:
        """Read the file if it has changed; a file that is none is logged, and the last good one stays in use."""
        try:
            if await asyncio.to_thread(self._places.reload):
                log.info("place_file_loaded", path=str(self._places.path))
        except MisconfiguredServer as error:
            log.warning("place_file_unusable", error=str(error))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            await self.check()
