"""`make bench`: measures the ratios, prints them, and saves them in bench/results.json.

`ONLY=hot` measures one (or several, with commas); `SMALL=1` runs everything for an instant, checks no more than that
it works, and saves nothing.
"""

import asyncio
import os
import sys
import time
from dataclasses import asdict

from bench import memory, plot, report
from bench.loads import generator
from bench.machine import machine
from bench.ratios import MEMORY, RATIOS, REDIS_KEYS, Ratio, ratio_of, run_turns, sides_of
from bench.redis_server import is_installed
from bench.scale import FULL, SMALL
from bench.sides import Sides
from bench.stage import Stage, set_up

ALL = (*RATIOS, MEMORY)


def main() -> int:
    """Returns the exit status."""
    if len(sys.argv) > 1:
        print(__doc__)
        return 0 if sys.argv[1] in ("-h", "--help") else 2
    keys = [key for key in os.environ.get("ONLY", "").split(",") if key] or list(ALL)
    unknown = [key for key in keys if key not in ALL]
    if unknown:
        print(f"bench: there is no ratio {unknown[0]}; there are {', '.join(ALL)}", file=sys.stderr)
        return 2
    if not is_installed():
        print("There is no redis-server on this machine: redis and redis_64 are left out.")
        keys = [key for key in keys if key not in REDIS_KEYS]
    try:
        asyncio.run(bench(keys, small=bool(os.environ.get("SMALL"))))
    except RuntimeError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


async def bench(keys: list[str], *, small: bool) -> None:
    """Measures these ratios. Raises RuntimeError if a run does not count."""
    began = time.monotonic()
    print(f"The load comes from {generator()}. Everything runs on this machine.", flush=True)
    async with set_up(SMALL if small else FULL) as stage:
        sides = Sides(stage)
        figures = await run_turns(
            sides.by_name,
            sides_of(keys),
            stage.scale.turns,
            lambda name, figure: print(f"{time.monotonic() - began:6.0f} s  {name:16} {figure:12,.3f}", flush=True),
            sides.prove,
        )
        ratios = {key: ratio_of(key, figures) for key in keys if key in RATIOS}
        more = {"machine": await machine(stage), "pgbench_clients": sides.pgbench_clients, "figures": figures}
        if MEMORY in keys:
            grown = await memory.growth(stage)
            ratios[MEMORY] = Ratio(*[round(grown.end_mib / grown.start_mib, 4)] * 3)
            more["memory"] = asdict(grown)
        if len(keys) > 1:
            await draw_latency(stage, sides, save=not small)
        await sides.prove()
    print(report.table({key: asdict(ratio) for key, ratio in ratios.items()}))
    if not small:
        report.save(ratios, more)
    print(f"It took {time.monotonic() - began:.0f} s.")


async def draw_latency(stage: Stage, sides: Sides, *, save: bool) -> None:
    """Latency at several parts of the server's peak."""
    peak_per_s = await sides.peak_per_s()
    points = []
    for load in stage.scale.plot_loads:
        seen = await sides.at_rate(load * peak_per_s)
        points.append(plot.Point(load * peak_per_s, seen.p50_ms, seen.p99_ms))
    picture = plot.draw(points, "Latency of GET /vast against load, 100 campaigns")
    if save:
        plot.PICTURE.write_text(picture)


if __name__ == "__main__":
    sys.exit(main())
