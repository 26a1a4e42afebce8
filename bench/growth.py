"""How throughput grows: `python -m bench.growth` prints ads a second by players, campaigns and workers.

And what grouping costs a player who is alone.
"""

import asyncio
from collections.abc import Awaitable, Iterable
from statistics import median

from bench import loads
from bench.books import CHARGE, Clock, reconcile
from bench.loads import Crowd, Loaded
from bench.scale import FULL, PLAYERS, VIEWERS
from bench.stage import Instance, Stage, set_up

PLAYER_COUNTS = (1, 4, 16, 64, 256, 1024)
CAMPAIGN_COUNTS = (1, 10, 100)
WORKER_COUNTS = (1, 2, 3, 4)
VIEWER_COUNTS = (1_000, VIEWERS, 10_000_000)


async def growth() -> None:
    """Prints a Markdown table for each."""
    async with set_up(FULL) as stage:
        main = await stage.instance("main")
        # A run that is not counted: statements are prepared, templates compiled.
        await _served(stage, main, PLAYERS, Crowd())
        await _table("players", PLAYER_COUNTS, (_served(stage, main, count, Crowd()) for count in PLAYER_COUNTS))
        crowds = (Crowd(campaigns=count) for count in CAMPAIGN_COUNTS)
        await _table("campaigns", CAMPAIGN_COUNTS, (_served(stage, main, PLAYERS, crowd) for crowd in crowds))
        crowds = (Crowd(viewers=count) for count in VIEWER_COUNTS)
        await _table("viewers", VIEWER_COUNTS, (_served(stage, main, PLAYERS, crowd) for crowd in crowds))
        await _table("workers", WORKER_COUNTS, (_with_workers(stage, count) for count in WORKER_COUNTS))
        await _alone(stage, main)


async def _with_workers(stage: Stage, count: int) -> tuple[float, Loaded]:
    instance = await stage.instance(f"workers_{count}", workers_count=count)
    await _served(stage, instance, PLAYERS, Crowd())
    return await _served(stage, instance, PLAYERS, Crowd())


async def _alone(stage: Stage, grouped: Instance) -> None:
    """The latency of a single player beside that of a server without groups, in turn: A B, then B A."""
    ungrouped = await stage.instance("ungrouped", settings={"ADSERVER_GROUP_MAX": "1"})
    with_groups, without = [], []
    for turn in range(stage.scale.turns):
        sides = [(grouped, with_groups), (ungrouped, without)]
        for server, p50s_ms in sides if turn % 2 == 0 else reversed(sides):
            _, seen = await _served(stage, server, 1, Crowd())
            p50s_ms.append(seen.p50_ms)
    ratios = [one / other for one, other in zip(with_groups, without, strict=True)]
    print(f"One player's p50: {median(with_groups):.2f} ms, and {median(without):.2f} ms without groups.")
    print(f"The ratio was {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}).")


async def _served(stage: Stage, server: Instance, players: int, crowd: Crowd) -> tuple[float, Loaded]:
    """Ads a second, and what the players saw."""
    clock = Clock(stage.scale.warm_s, stage.scale.measured_s)
    loaded = await loads.players(server.workers.url, players, stage.scale.load_s, crowd)
    await reconcile(server.database_url)
    return await clock.booked_per_s(server.database_url, CHARGE), loaded


async def _table(what: str, counts: Iterable[int], runs: Iterable[Awaitable[tuple[float, Loaded]]]) -> None:
    print(f"| {what} | ads/s | p50 ms | p99 ms |\n|---|---|---|---|")
    for count, run in zip(counts, runs, strict=True):
        ads_per_s, seen = await run
        print(f"| {count:,} | {ads_per_s:,.0f} | {seen.p50_ms:.1f} | {seen.p99_ms:.1f} |", flush=True)
    print()


if __name__ == "__main__":
    asyncio.run(growth())
