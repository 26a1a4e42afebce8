"""A lock by which one worker of a server does some work for all of them."""

import fcntl
import os
from pathlib import Path

from app.observability.metrics import MULTIPROCESS_DIR


class LeaderLock:
    """A file lock; the worker that holds it keeps it until it releases it or its process ends."""

    def __init__(self, name: str) -> None:
        folder = os.environ.get(MULTIPROCESS_DIR)
        self._path = Path(folder) / f"{name}.lock" if folder else None
        self._file: int | None = None

    def try_acquire(self) -> bool:
        """Return whether this worker holds the lock now; a single worker always does."""
        if self._path is None or self._file is not None:
            return True
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._file = file
        return True

    def release(self) -> None:
        """Let another worker acquire the lock."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
