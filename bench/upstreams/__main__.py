"""`make upstream-table`: tries, prints, and writes its tables into docs/operations.md.

SMALL=1 tries a little of everything, and writes nothing.
"""

import os
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack

import uvloop

from bench.scale import FULL
from bench.stage import Instance, Stage, set_up
from bench.upstreams import campaigns, page
from bench.upstreams.audience import audience
from bench.upstreams.misbehaving import Stagehand
from bench.upstreams.trials import CROWDS, Outcome, Speed, black_hole, misbehave, speed

OWN_CREATIVES = "c"
TURNS = 2
UNRETRIED = "bench.upstreams.unretried:create_app"


async def main() -> None:
    """Everything, in about three minutes."""
    began, (load_before, *_) = time.monotonic(), os.getloadavg()
    small = bool(os.environ.get("SMALL"))
    stagehand = Stagehand()
    async with set_up(FULL) as stage, stagehand.listening():
        server = await _instance(stage, stagehand, "guarded")
        outcomes = await _outcomes(stage, stagehand, server, list(campaigns.PROTECTIONS)[: 2 if small else None])
        async with audience(server.workers.url) as players:
            hole = await black_hole(stagehand, players)
        speeds = await _speeds(stagehand, server, turns=1 if small else TURNS)
    written = page.tables(outcomes, hole, speeds, load_before)
    print(written)
    if not small:
        page.save(written)
    print(f"It took {time.monotonic() - began:.0f} s.")


async def _instance(stage: Stage, stagehand: Stagehand, name: str, factory: str = "app.main:create_app") -> Instance:
    file = stage.folder / "upstreams.toml"
    file.write_text(campaigns.campaign_file(stagehand.url))
    await stage.adserver(await stage.database(name), "apply", str(file))
    return await stage.instance(name, factory=factory)


async def _outcomes(
    stage: Stage, stagehand: Stagehand, server: Instance, protections: list[str]
) -> Mapping[tuple[str, str], Outcome]:
    """By behavior and protection."""
    outcomes: dict[tuple[str, str], Outcome] = {}
    async with AsyncExitStack() as stack:
        retrying = await stack.enter_async_context(audience(server.workers.url))
        for protection in protections:
            players = retrying
            if not campaigns.PROTECTIONS[protection].retries:
                unretried = await _instance(stage, stagehand, "unretried", UNRETRIED)
                players = await stack.enter_async_context(audience(unretried.workers.url))
            for behavior in campaigns.BEHAVIORS:
                outcome = await misbehave(stagehand, players, behavior, protection)
                outcomes[behavior, protection] = outcome
                print(f"{protection:12} {behavior:8} {page.told(outcome)}", flush=True)
    return outcomes


async def _speeds(stagehand: Stagehand, server: Instance, turns: int) -> Mapping[tuple[str, int], list[Speed]]:
    """By campaign and number of players; A B, then B A."""
    names = [OWN_CREATIVES, *(name.rstrip("1") for name in campaigns.FAST)]
    stagehand.cues |= {f"/{name}": behavior for name, (behavior, _) in campaigns.FAST.items()}
    sides = [(name, players) for players in CROWDS for name in names]
    speeds: dict[tuple[str, int], list[Speed]] = {side: [] for side in sides}
    for turn in range(turns):
        for name, players in sides if turn % 2 == 0 else reversed(sides):
            seen = await speed(server, name, players)
            speeds[name, players].append(seen)
            print(f"{name:8} {players:4} players {seen}", flush=True)
    return speeds


if __name__ == "__main__":
    try:
        uvloop.run(main())
    except RuntimeError as error:
        sys.exit(f"upstream-table: {error}")
