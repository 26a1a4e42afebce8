"""The ratios: of which two sides, taken in turn, A B B A, so that a machine that slows down slows both."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench.sides import Side

RATIOS: Mapping[str, tuple[str, str | None]] = {
    "spread": ("spread", "pgbench"),
    "hot": ("hot", "pgbench_hot"),
    "hot_vs_spread": ("hot", "spread"),
    "bare": ("spread", "bare"),
    "wal": ("wal", None),
    "tail": ("tail", "tail_bare"),
    "overload": ("overload", "spread"),
    "upstream": ("upstream", "upstream_client"),
    "finance": ("finance", "spread"),
    "users": ("many_caps", "few_caps"),
    "redis": ("spread", "redis"),
    "beacons": ("beacons", "spread"),
    "pods": ("pods", "spread"),
    "targeted": ("targeted", "listed"),
    "spread_64": ("spread_64", "pgbench"),
    "hot_64": ("hot_64", "pgbench_hot"),
    "bare_64": ("spread_64", "bare_64"),
    "redis_64": ("spread_64", "redis_64"),
}
"""The sides whose figures are divided; a side without a second is a ratio itself."""

ORDER = (
    *("pgbench", "spread", "bare", "redis", "hot", "pgbench_hot", "hot_64", "redis_64", "bare_64", "spread_64"),
    *(
        "pods",
        "targeted",
        "listed",
        "beacons",
        "overload",
        "finance",
        "tail",
        "tail_bare",
        "many_caps",
        "few_caps",
        "upstream",
        "upstream_client",
        "wal",
    ),
)
"""In which sides are run, each near what it is compared with."""

MEMORY = "memory"
REDIS_KEYS = ("redis", "redis_64")


@dataclass(frozen=True, slots=True)
class Ratio:
    """Over all turns."""

    median: float
    min: float
    max: float


def sides_of(keys: Iterable[str]) -> list[str]:
    """The sides that these ratios need, in the order of the first turn."""
    needed = {side for key in keys if key in RATIOS for side in RATIOS[key]}
    return [side for side in ORDER if side in needed]


async def run_turns(
    sides: Mapping[str, Side],
    names: Sequence[str],
    turns: int,
    report: Callable[[str, float], None],
    prove: Callable[[], Awaitable[None]],
) -> dict[str, list[float]]:
    """Every side's figures, one of each turn; every other turn goes backwards, and each is proved."""
    figures: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(turns):
        for name in reversed(names) if turn % 2 else names:
            figure = await sides[name]()
            figures[name].append(figure)
            report(name, figure)
        await prove()
    return figures


def ratio_of(key: str, figures: Mapping[str, Sequence[float]]) -> Ratio:
    """The ratio of the runs that belong together."""
    above, below = RATIOS[key]
    quotients = figures[above]
    if below is not None:
        quotients = [a / b for a, b in zip(figures[above], figures[below], strict=True)]
    return Ratio(*(round(value, 4) for value in (median(quotients), min(quotients), max(quotients))))
