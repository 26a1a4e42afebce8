"""The last refusal of each upstream in all workers; each worker publishes its own in a file beside its metrics."""

import asyncio
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import orjson
import structlog

from app.observability.metrics import MULTIPROCESS_DIR
from app.upstreams.refusals import Refusal, Refusals

log = structlog.get_logger()

REFUSAL_FILES = "refusals_[0-9]*.json"
"""Pattern of the files, whose names contain the process id; the server removes old ones when it starts."""


class SharedRefusals:
    """The refusals of this worker, and those published by the other workers."""

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals
        self._folder = Path(os.environ[MULTIPROCESS_DIR]) if MULTIPROCESS_DIR in os.environ else None
        self._published: Mapping[str, Refusal] = {}

    def publish(self) -> None:
        """Write this worker's file if anything has changed; call it every second."""
        last = dict(self._refusals.last)
        if self._folder is None or last == self._published:
            return
        file = self._folder / f"refusals_{os.getpid()}.json"
        temporary = file.with_suffix(".new")
        try:
            temporary.write_bytes(orjson.dumps(last))
            temporary.replace(file)
        except OSError as error:
            log.warning("refusals_not_published", error=str(error))
        self._published = last

    async def latest(self) -> Mapping[str, Refusal]:
        """Return the latest refusal of each upstream in all workers."""
        merged = dict(self._refusals.last)
        for upstream_id, refusal in await asyncio.to_thread(self._read_all):
            if upstream_id not in merged or merged[upstream_id].at < refusal.at:
                merged[upstream_id] = refusal
        return merged

    def _read_all(self) -> list[tuple[str, Refusal]]:
        files = self._folder.glob(REFUSAL_FILES) if self._folder else ()
        return [
            (upstream_id, Refusal(datetime.fromisoformat(refusal["at"]), refusal["kind"], refusal["detail"]))
            for file in files
            for upstream_id, refusal in orjson.loads(file.read_bytes()).items()
        ]
