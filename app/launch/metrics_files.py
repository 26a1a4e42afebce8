"""Files in which workers keep their metrics, so that each can answer for all of them."""

from collections.abc import Callable
from pathlib import Path

from prometheus_client import multiprocess

from app.errors import MisconfiguredServer
from app.observability.upstream_refusals import REFUSAL_FILES
from app.settings import Settings

METRICS_FILES = "*_[0-9]*.db"
"""As prometheus_client names them, with the process id at the end: a database of somebody else's stays."""


def cleared_metrics_dir(settings: Settings) -> Path:
    """A folder without the files of earlier processes. Raises MisconfiguredServer if it cannot be used."""
    folder = (settings.metrics_dir or settings.data_dir / f"metrics-{settings.port}").resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in (*folder.glob(METRICS_FILES), *folder.glob(REFUSAL_FILES)):
            file.unlink(missing_ok=True)
    except OSError as error:
        raise MisconfiguredServer(f"ADSERVER_METRICS_DIR: {error.filename or folder}: {error.strerror}") from error
    return folder


def forgetting(folder: Path) -> Callable[[int], None]:
    """What to call with the id of a process that has ended: its gauges go, its counters stay.

    A file that the process was killed before writing to goes too: nobody could read any metrics beside it.
    """

    def forget(process_id: int) -> None:
        for file in folder.glob(f"*_{process_id}.db"):
            if file.stat().st_size == 0:
                file.unlink()
        multiprocess.mark_process_dead(process_id, str(folder))  # type: ignore[no-untyped-call]

    return forget
