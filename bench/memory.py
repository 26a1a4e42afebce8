"""How much a worker's memory grows while it serves."""

import time
from dataclasses import dataclass

from bench import loads
from bench.books import charges
from bench.loads import Crowd
from bench.processes import mib
from bench.scale import PLAYERS
from bench.stage import Stage


@dataclass(frozen=True, slots=True)
class Growth:
    """MiB of a worker (the mean of both) as it was started and after so many serves of all of them."""

    start_mib: float
    end_mib: float
    serves: int


async def growth(stage: Stage) -> Growth:
    """Goes on serving until the number is reached or the time is up, and looks."""
    server = await stage.instance("main")
    deadline = time.monotonic() + stage.scale.memory_s_max
    while (
        serves := await charges(server.database_url)
    ) < stage.scale.serves_for_memory and time.monotonic() < deadline:
        await loads.players(server.workers.url, PLAYERS, stage.scale.load_s, Crowd())
    return Growth(round(server.workers.mib_at_start, 1), round(mib(server.workers.pids), 1), serves)
