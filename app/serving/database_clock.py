"""The clock of Postgres as a worker knows it, so that hours of targeting and flights go by the same clock."""

from datetime import UTC, datetime, timedelta


class DatabaseClock:
    """The present moment by the database's clock: the worker's own, corrected by what the last statement told."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)

    def observe(self, database_time: datetime) -> None:
        """Take note of the time that a statement has returned just now."""
        self._ahead = database_time - datetime.now(UTC)

    def now(self) -> datetime:
        """Return the present moment."""
        return datetime.now(UTC) + self._ahead
