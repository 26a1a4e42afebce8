"""Things that one worker of a server does for all of them."""

import fcntl
import os
from pathlib import Path

from app.observability.metrics import MULTIPROCESS_DIR


class Turn:
    """Whoever takes the turn has it until it ends or its process does; then the next who asks gets it."""

    def __init__(self, name: str) -> None:
        folder = os.environ.get(MULTIPROCESS_DIR)
        self._path = Path(folder) / f"{name}.lock" if folder else None
        self._file: int | None = None

    def take(self) -> bool:
        """Whether it is ours; a worker that is alone always has it."""
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

    def end(self) -> None:
        """Lets the next have it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
