"""Players: wrk where it is installed, else the bench's own client."""

import json
import random
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from bench.processes import output_of
from bench.scale import CAMPAIGNS, VIEWERS

FOLDER = Path(__file__).parent
OWN_CLIENT = "bench.client"
PACING_RUNS = 2
PATHS = 20_000
"""Requests that the own client chooses at random beforehand, and then repeats."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who asks for what: campaigns c1, c2, ... and viewers u1, u2, ..., each at random.

    With another `prefix` they ask for other campaigns or placements, and with `more` for other ads of these.
    """

    campaigns: int = CAMPAIGNS
    viewers: int = VIEWERS
    prefix: str = "campaign_id=c"
    more: str = ""

    @property
    def arguments(self) -> tuple[str, str, str, str]:
        """The arguments of players.lua."""
        return self.prefix, str(self.campaigns), str(self.viewers), self.more


@dataclass(frozen=True, slots=True)
class Loaded:
    """What players saw; `failures` are answers that were no ad, and broken connections."""

    requests_per_s: float
    failures: int
    p50_ms: float
    p99_ms: float


def generator() -> str:
    """The program that makes the load."""
    return "wrk" if shutil.which("wrk") else OWN_CLIENT


async def players(url: str, count: int, seconds: int, crowd: Crowd) -> Loaded:
    """So many players ask for ads, each as soon as it has its answer."""
    if generator() == "wrk":
        return await _wrk(url, count, seconds, "players.lua", *crowd.arguments)
    return await _own("closed", url, count, seconds, random_paths(crowd))


async def senders(url: str, count: int, seconds: int, paths: Sequence[str]) -> Loaded:
    """So many clients ask for these paths, each once."""
    if generator() == "wrk":
        with NamedTemporaryFile("w", suffix=".paths") as file:
            file.write("\n".join(paths))
            file.flush()
            return await _wrk(url, count, seconds, "paths.lua", file.name)
    return await _own("closed", url, count, seconds, paths)


async def paced(url: str, count: int, seconds: int, rate: float) -> Loaded:
    """So many requests a second by `count` players, who think in between for a time of their own.

    With wrk a first run shows how long players wait for their ads; they think for so much less in the second.
    """
    crowd = Crowd()
    if generator() != "wrk":
        return await _own("paced", url, count, seconds, random_paths(crowd), str(rate))
    cycle_ms = 1000 * count / rate
    thinking_ms = cycle_ms
    for _ in range(PACING_RUNS):
        seen = await _wrk(
            *(url, count, seconds, "paced.lua"),
            *(*crowd.arguments, f"{thinking_ms:.3f}"),
        )
        thinking_ms = max(0.0, thinking_ms - (1000 * count / seen.requests_per_s - cycle_ms))
    return seen


def random_paths(crowd: Crowd) -> list[str]:
    """Paths of tag URLs for a campaign and a viewer at random."""
    return [
        f"/vast?{crowd.prefix}{random.randint(1, crowd.campaigns)}"  # noqa: S311 - not a secret
        f"&user_id=u{random.randint(1, crowd.viewers)}{crowd.more}"  # noqa: S311
        for _ in range(PATHS)
    ]


async def _wrk(url: str, count: int, seconds: int, script: str, *arguments: str) -> Loaded:
    options = ["-t1", f"-c{count}", f"-d{seconds}s", "--timeout=5s", "--latency", "-s", str(FOLDER / script)]
    return read_wrk(await output_of("wrk", *options, url, "--", *arguments))


def read_wrk(printed: str) -> Loaded:
    """What wrk saw, from what it prints. Raises RuntimeError if it prints something else than expected."""
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", printed)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", printed)
    return Loaded(
        requests_per_s=float(_found(r"Requests/sec:\s+([\d.]+)", printed)[1]),
        failures=sum(int(number) for match in (broken, refused) if match for number in match.groups()),
        p50_ms=_milliseconds(_found(r"50%\s+([\d.]+)(us|ms|s)", printed)),
        p99_ms=_milliseconds(_found(r"99%\s+([\d.]+)(us|ms|s)", printed)),
    )


def _found(pattern: str, printed: str) -> re.Match[str]:
    match = re.search(pattern, printed)
    if match is None:
        raise RuntimeError(f"wrk prints something else than expected: {printed}")
    return match


def _milliseconds(match: re.Match[str]) -> float:
    return float(match[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[match[2]]


async def _own(mode: str, url: str, count: int, seconds: int, paths: Sequence[str], *more: str) -> Loaded:
    command = [sys.executable, "-m", OWN_CLIENT, mode, url, str(count), str(seconds), *more]
    printed = json.loads(await output_of(*command, given="\n".join(paths)))
    return Loaded(printed["requests_per_s"], printed["failures"], printed["p50_ms"], printed["p99_ms"])
