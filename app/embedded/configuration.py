"""What the embedded Postgres is told, and why. ALTER SYSTEM overrides all but the addresses.

Durability is not for sale: fsync, full_page_writes and synchronous_commit keep their defaults, which are on.
"""

from collections.abc import Mapping

import psutil

MIB = 2**20
SHARED_BUFFERS_MAX_MIB = 2048


def shared_buffers_mib(memory_bytes: int) -> int:
    """A quarter of the machine's memory, as the manual advises (section 19.4.1), within bounds."""
    return max(128, min(SHARED_BUFFERS_MAX_MIB, memory_bytes // 4 // MIB))


SETTINGS: Mapping[str, str] = {
    # For tests and benchmarks; a server says how many it needs.
    "max_connections": "200",
    # The hot rows, the counters' index and today's partitions stay in memory.
    "shared_buffers": f"{shared_buffers_mib(psutil.virtual_memory().total)}MB",
    # Checkpoints come by time rather than by volume, so that under load fewer pages are logged in full.
    "max_wal_size": "2GB",
    # Every commit waits while a WAL file is made and filled with zeros: those that were in use once are kept for it.
    "min_wal_size": "1GB",
    # Data lies on solid state disks nowadays; the default of 4 makes the planner avoid indexes.
    "random_page_cost": "1.1",
    # Statements here are short: compiling one costs more than running it.
    "jit": "off",
    # Counters are updated all the time; vacuum comes round often so that their tables stay small.
    "autovacuum_naptime": "10s",
    # Windows and days are computed in each campaign's own timezone, from UTC.
    "timezone": "UTC",
    "log_timezone": "UTC",
    # The log says which session it is about, and which of them waited for a lock or was slow.
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_lock_waits": "on",
    "log_min_duration_statement": "1s",
    # A client that is gone ends its statement, rather than let it run to the end.
    "client_connection_check_interval": "1s",
}


def configuration_file(settings: Mapping[str, str]) -> str:
    """postgresql.conf: see "Setting Parameters via the Configuration File" in the Postgres manual."""
    quoted = {name: value.replace("'", "''") for name, value in settings.items()}
    lines = [f"{name} = '{value}'" for name, value in quoted.items()]
    return "\n".join(["# Written by adserver at each start; use ALTER SYSTEM to change a setting.", *lines, ""])
