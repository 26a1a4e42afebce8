"""What the figures were measured on, and with."""

import os
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from app.settings import Settings
from bench import loads, redis_server
from bench.books import connected
from bench.processes import output_of
from bench.scale import PLAYERS, VIEWERS, WORKERS
from bench.stage import Stage

PACKAGES = ("asyncpg", "httpx", "httpx-aiohttp", "redis", "sqlalchemy", "starlette", "uvicorn", "uvloop")
POSTGRES_SETTINGS = (
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "max_wal_size",
    "min_wal_size",
    "wal_compression",
)
SERVER_SETTINGS = ("group_max", "group_fetch_wait_ms", "queue_max", "serve_connections", "fetch_connections")


async def machine(stage: Stage) -> dict[str, Any]:
    """Cores, versions and settings."""
    async with connected(stage.postgres.dsn) as connection:
        postgres = await connection.fetchval("SHOW server_version")
        settings = {name: await connection.fetchval(f"SHOW {name}") for name in POSTGRES_SETTINGS}
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "cpu": _cpu(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "postgres": postgres,
        "redis": await _redis_version(),
        "load_generator": loads.generator(),
        "packages": {package: version(package) for package in PACKAGES},
        "workers": WORKERS,
        "players": PLAYERS,
        "viewers": VIEWERS,
        "runs": asdict(stage.scale),
        "postgres_settings": settings,
        "server_settings": {name: getattr(Settings(), name) for name in SERVER_SETTINGS},
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


async def _redis_version() -> str:
    if not redis_server.is_installed():
        return "not installed: left out"
    return (await output_of("redis-server", "--version")).split()[2].removeprefix("v=")
