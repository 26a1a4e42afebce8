"""Settings of the embedded Postgres, with reasons. ALTER SYSTEM overrides all but the addresses.

Durability is not traded for speed: fsync, full_page_writes and synchronous_commit keep their defaults, which are on.
"""

from collections.abc import Mapping

import psutil

MIB = 2**20
SHARED_BUFFERS_MAX_MIB = 2048


def shared_buffers_mib(memory_bytes: int) -> int:
    """Return a quarter of the machine's memory, as the manual advises (section 19.4.1), within bounds."""
    return max(128, min(SHARED_BUFFERS_MAX_MIB, memory_bytes // 4 // MIB))


SETTINGS: Mapping[str, str] = {
    # For tests and benchmarks; a server sets the number that it needs.
    "max_connections": "200",
    # Keep the hot rows, the counters' index and today's partitions in memory.
    "shared_buffers": f"{shared_buffers_mib(psutil.virtual_memory().total)}MB",
    # Trigger checkpoints by time rather than by volume, so that fewer full pages are logged under load.
    "max_wal_size": "2GB",
    # Recycle WAL files: every commit waits while a new file is created and filled with zeros.
    "min_wal_size": "1GB",
    # Assume solid state disks; the default of 4 makes the planner avoid indexes.
    "random_page_cost": "1.1",
    # The statements are short: compiling one costs more than running it.
    "jit": "off",
    # Counters are updated constantly; vacuum them often so that their tables stay small.
    "autovacuum_naptime": "10s",
    # Cap windows and days are computed from UTC in each campaign's own time zone.
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Log the session of each line, waits for locks, and slow statements.
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_lock_waits": "on",
    "log_min_duration_statement": "1s",
    # Cancel the statement of a client that has disconnected.
    "client_connection_check_interval": "1s",
}


def configuration_file(settings: Mapping[str, str]) -> str:
    """Return the text of postgresql.conf (Postgres manual, "Setting Parameters via the Configuration File")."""
    quoted = {name: value.replace("'", "''") for name, value in settings.items()}
    lines = [f"{name} = '{value}'" for name, value in quoted.items()]
    return "\n".join(["# Written by adserver at each start; use ALTER SYSTEM to change a setting.", *lines, ""])
