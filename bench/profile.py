"""Where a serve's time goes: `python -m bench.profile [hot]` samples the workers and asks Postgres.

It prints how the workers' CPU time divides among the layers, which functions take most of it, and what each statement
takes for each ad. It needs py-spy's right to look into processes (root, or kernel.yama.ptrace_scope = 0).
"""

import asyncio
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

from bench import loads
from bench.books import CHARGE, Clock, charges, connected, reconcile
from bench.loads import Crowd
from bench.processes import output_of
from bench.scale import FULL, PLAYERS
from bench.stage import set_up

PY_SPY = str(Path(sys.executable).parent / "py-spy")
SAMPLED_S = 5
LOAD_S = SAMPLED_S + 3
SAMPLES_PER_S = 200
FUNCTIONS = 40

# The innermost frame that belongs to one of these names the layer.
LAYERS = {
    "app/web": "web: query, headers, answer",
    "app/vast": "vast: rendering",
    "app/serving/answers": "vast: rendering",
    "app/serving/tokens": "vast: signing beacons",
    "app/serving": "serving: lanes, candidates, transaction",
    "app/store": "store: statements' arguments and rows",
    "app/observability": "observability: metrics and logs",
    "asyncpg": "store: statements' arguments and rows",
    "app/fast_path": "HTTP server: uvicorn and its protocol here",
    "app/launch": "HTTP server: uvicorn and its protocol here",
    "uvicorn": "HTTP server: uvicorn and its protocol here",
    "starlette": "HTTP server: Starlette",
    "asyncio": "event loop",
}

STATEMENTS = """
SELECT calls, rows, total_exec_time, left(regexp_replace(query, '\\s+', ' ', 'g'), 90) AS query
FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY total_exec_time DESC LIMIT 12
"""
"""The statements that took most of Postgres' time."""


async def profile(crowd: Crowd) -> None:
    """Loads the server, and prints what it did meanwhile."""
    async with set_up(FULL, {"shared_preload_libraries": "pg_stat_statements"}) as stage:
        server = await stage.instance("main")
        async with connected(server.database_url) as connection:
            await connection.execute("CREATE EXTENSION pg_stat_statements")
        clock = Clock(1, SAMPLED_S)
        loading = asyncio.create_task(loads.players(server.workers.url, PLAYERS, LOAD_S, crowd))
        await asyncio.sleep(1)
        stacks = await asyncio.gather(*(_sampled(pid) for pid in server.workers.pids))
        await loading
        ads_per_s = await clock.booked_per_s(server.database_url, CHARGE)
        print(f"{ads_per_s:,.0f} ads/s while the workers were looked at\n")
        _print_stacks(sum(stacks, Counter()), ads_per_s)
        await _print_statements(server.database_url, await charges(server.database_url))
        await reconcile(server.database_url)


async def _sampled(pid: int) -> Counter[tuple[str, ...]]:
    """How often each stack of a process was seen, outermost frame first."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "stacks"
        options = ["--format=raw", f"--rate={SAMPLES_PER_S}", f"--duration={SAMPLED_S}", "--nonblocking"]
        await output_of(PY_SPY, "record", *options, f"--output={file}", f"--pid={pid}")
        lines = await asyncio.to_thread(file.read_text)
    stacks: Counter[tuple[str, ...]] = Counter()
    for line in lines.splitlines():
        stack, _, count = line.rpartition(" ")
        stacks[tuple(stack.split(";"))] += int(count)
    return stacks


def _layer(stack: tuple[str, ...]) -> str:
    for frame in reversed(stack):
        for path, layer in LAYERS.items():
            if f"({path}" in frame:
                return layer
    return "other"


def _print_stacks(stacks: Counter[tuple[str, ...]], ads_per_s: float) -> None:
    """By layer and by function, in parts of the time sampled and in microseconds of one worker for each ad."""
    total = stacks.total()
    layers: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for stack, count in stacks.items():
        layers[_layer(stack)] += count
        functions[re.sub(r":\d+\)$", ")", stack[-1])] += count
    for title, counts in (("layer", layers), ("function", functions)):
        print(f"{'share':>7} {'µs/ad':>7}  {title}")
        for name, count in counts.most_common(FUNCTIONS):
            microseconds = 1e6 * count / SAMPLES_PER_S / SAMPLED_S / ads_per_s
            print(f"{count / total:7.1%} {microseconds:7.1f}  {name}")
        print()


async def _print_statements(database_url: str, ads: int) -> None:
    async with connected(database_url) as connection:
        rows = await connection.fetch(STATEMENTS)
    print(f"{'ms/call':>8} {'µs/ad':>7} {'calls/ad':>9}  statement")
    for row in rows:
        milliseconds, calls = row["total_exec_time"], row["calls"]
        print(f"{milliseconds / calls:8.3f} {1000 * milliseconds / ads:7.1f} {calls / ads:9.4f}  {row['query']}")


if __name__ == "__main__":
    asyncio.run(profile(Crowd(campaigns=1) if sys.argv[1:] == ["hot"] else Crowd()))
