"""The tables of docs/operations.md that `make upstream-table` writes."""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench import loads
from bench.scale import WORKERS
from bench.upstreams.audience import p50_ms, p99_ms
from bench.upstreams.campaigns import BEHAVIORS, PROTECTIONS, TIMEOUT_MS
from bench.upstreams.trials import CROWDS, BlackHole, Outcome, Speed

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
BEGIN, END = "<!-- written by make upstream-table -->", "<!-- to here -->"

KINDS: Mapping[str, str] = {
    "c": "own creative",
    "late": "upstream of 50 ms",
    "tail": "upstream with a long tail",
    "cached": "upstream of 50 ms, cache on",
}


def save(written: str) -> None:
    """Puts the tables into the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text("\n\n".join([before + BEGIN, written, END]) + after)


def tables(
    outcomes: Mapping[tuple[str, str], Outcome],
    hole: BlackHole,
    speeds: Mapping[tuple[str, int], Sequence[Speed]],
    load_before: float,
) -> str:
    """All of them, as Markdown; `load_before` is what else the machine had to do."""
    return "\n\n".join([_outcomes(outcomes), _hole(hole), _speeds(speeds), _machine(load_before)])


def told(outcome: Outcome) -> str:
    """One cell."""
    ads = f"{outcome.filled:.0%}" if outcome.filled < 1 else "all"
    return f"{ads}, {outcome.by_primary:.0%} · {outcome.p50_ms:.0f} / {outcome.p99_ms:.0f}"


def _outcomes(outcomes: Mapping[tuple[str, str], Outcome]) -> str:
    tried = [key for key in PROTECTIONS if (BEHAVIORS[0], key) in outcomes]
    rows = [[PROTECTIONS[key].says, *(told(outcomes[behavior, key]) for behavior in BEHAVIORS)] for key in tried]
    return _table(["", *BEHAVIORS], rows)


def _hole(hole: BlackHole) -> str:
    rows = [
        ("waited for the black hole, no breaker", hole.unbroken, f"timeout {TIMEOUT_MS} ms + 50 ms"),
        ("waited for it before the breaker opened", hole.waited, f"timeout {TIMEOUT_MS} ms + 50 ms"),
        ("the fallback alone, at the same time", hole.fallback, ""),
        ("behind the open breaker", hole.spared, f"{hole.spared_ratio:.2f} times the fallback alone"),
        ("ad in hand, all well", hole.own_before, ""),
        ("ad in hand, during the black hole", hole.own_during, f"{hole.own_ratio:.2f} times before"),
    ]
    told_rows = [
        [who, f"{len(seen):,}", f"{p50_ms(seen):.1f}", f"{p99_ms(seen):.1f}", beside]
        for who, seen, beside in rows
        if seen
    ]
    return _table(["requests that", "number", "p50 ms", "p99 ms", "p99 beside"], told_rows)


def _speeds(speeds: Mapping[tuple[str, int], Sequence[Speed]]) -> str:
    rows = []
    for players in CROWDS:
        own = median([each.ads_per_s for each in speeds["c", players]])
        for kind, name in KINDS.items():
            seen = speeds[kind, players]
            ads_per_s = median([each.ads_per_s for each in seen])
            figures = [
                f"{ads_per_s:,.0f}",
                f"{ads_per_s / own:.2f}",
                f"{median([each.p50_ms for each in seen]):.1f}",
                f"{median([each.p99_ms for each in seen]):.1f}",
                f"{median([each.group_size for each in seen]):.1f}",
            ]
            rows.append([name, str(players), *figures])
    return _table(["ad", "players", "paid ads/s", "÷ own creative", "p50 ms", "p99 ms", "requests a transaction"], rows)


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _machine(load_before: float) -> str:
    return (
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {os.cpu_count()} cores, which everything shared: {WORKERS} workers, "
        f"Postgres, players and upstreams, and what else gave the machine a load of {load_before:.1f} before it began; "
        f"{loads.generator()}."
    )
