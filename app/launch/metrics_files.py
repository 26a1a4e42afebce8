"""The metrics files of the workers. Each worker reads all of them to report the metrics of all."""

from collections.abc import Callable
from pathlib import Path

from prometheus_client import multiprocess

from app.errors import MisconfiguredServer
from app.observability.upstream_refusals import REFUSAL_FILES
from app.settings import Settings

METRICS_FILES = "*_[0-9]*.db"
"""prometheus_client's names, which end with the process id. Other files in the folder are left alone."""


def clear_metrics_dir(settings: Settings) -> Path:
    """Remove the files of earlier processes and return the folder. Raises MisconfiguredServer if it is unusable."""
    folder = (settings.metrics_dir or settings.data_dir / f"metrics-{settings.port}").resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in (*folder.glob(METRICS_FILES), *folder.glob(REFUSAL_FILES)):
            file.unlink(missing_ok=True)
    except OSError as error:
        raise MisconfiguredServer(f"ADSERVER_METRICS_DIR: {error.filename or folder}: {error.strerror}") from error
    return folder


def make_exit_handler(folder: Path) -> Callable[[int], None]:
    """Return a function that removes the gauges of an ended process, given its id, and keeps its counters.

    It also removes an empty file, left by a process that was killed before its first write: reading any metrics would
    fail because of it.
    """

    def clean_up(process_id: int) -> None:
        for file in folder.glob(f"*_{process_id}.db"):
            if file.stat().st_size == 0:
                file.unlink()
        multiprocess.mark_process_dead(process_id, str(folder))  # type: ignore[no-untyped-call]

    return clean_up
