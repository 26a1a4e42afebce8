"""The bench's results: bench/results.json, and the table that is printed and stands in docs/performance.md."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from bench.ratios import Ratio

RESULTS = Path(__file__).parent / "results.json"
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- written by make bench -->", "<!-- to here -->"

MEANINGS: Mapping[str, str] = {
    "spread": "paid ads/s, 100 campaigns ÷ pgbench's best",
    "hot": "paid ads/s, one campaign ÷ pgbench's best with one campaign",
    "hot_vs_spread": "paid ads/s, one campaign ÷ 100 campaigns",
    "bare": "paid ads/s ÷ answers/s of a bare route",
    "wal": "WAL flushes ÷ paid ad",
    "tail": "p99 at 70% of the peak ÷ the bare route's at the same rate",
    "overload": "paid ads/s with 1,280 players ÷ with 256",
    "upstream": "paid ads/s with a 50 ms upstream, 200 players ÷ what the bare client fetches",
    "finance": "paid ads/s while a finance query holds its snapshot ÷ without",
    "users": "paid ads/s with 10 million cap rows ÷ with 10 thousand",
    "redis": "paid ads/s ÷ the same in Redis, a Lua script a request, every write synced",
    "pods": "ads/s paid for in pods of four ÷ single ones",
    "targeted": "ads/s paid for in a targeted placement, of 10,000 campaigns ÷ in placements with a list of one",
    "beacons": "impression beacons settled/s ÷ paid ads/s",
    "memory": "MiB of a worker after the serves ÷ as it started",
    "spread_64": "`spread` with 64 players",
    "hot_64": "`hot` with 64 players",
    "bare_64": "`bare` with 64 players",
    "redis_64": "`redis` with 64 players",
}


def save(ratios: Mapping[str, Ratio], more: Mapping[str, Any]) -> None:
    """Replaces the results, or, when only some ratios were measured, those."""
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() and len(ratios) < len(MEANINGS) else {"ratios": {}}
    known = before["ratios"] | {key: asdict(ratio) for key, ratio in ratios.items()}
    if "figures" in before:
        more = {**more, "figures": {**before["figures"], **more["figures"]}}
    results = {**before, **more, "ratios": {key: known[key] for key in MEANINGS if key in known}}
    RESULTS.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    PAGE.write_text(renewed_page(PAGE.read_text(), results))


def renewed_page(page: str, results: Mapping[str, Any]) -> str:
    """docs/performance.md with these results in it."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return (
        "\n\n".join([before + BEGIN, table(results["ratios"]), _figures(results), _machine(results["machine"]), END])
        + after
    )


def _figures(results: Mapping[str, Any]) -> str:
    """What the sides themselves came to."""
    rows = [
        f"| `{side}` | {median(values):,.{2 if median(values) < 100 else 0}f} | {len(values)} |"
        for side, values in results["figures"].items()
    ]
    heading = "| side (ads, answers, documents or beacons a second; `tail` in ms; `wal` per ad) | median | runs |"
    return "\n".join([heading, "|---|---|---|", *rows])


def _machine(machine: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    postgres = machine["postgres_settings"]
    return (
        f"Measured {machine['measured_at']} on {machine['cores']} cores ({machine['cpu']}), "
        f"{machine['memory_gib']} GiB, Python {machine['python']}, PostgreSQL {machine['postgres']} with "
        f"fsync {postgres['fsync']} and synchronous_commit {postgres['synchronous_commit']}, Redis {machine['redis']}, "
        f"{machine['load_generator']}, {machine['workers']} workers, {machine['players']} players; {packages}."
    )


def table(ratios: Mapping[str, Mapping[str, float]]) -> str:
    """The ratios as a Markdown table."""
    rows = [
        f"| `{key}` | {meaning} | {ratios[key]['median']} | {ratios[key]['min']} | {ratios[key]['max']} |"
        for key, meaning in MEANINGS.items()
        if key in ratios
    ]
    return "\n".join(["| key | ratio | median | min | max |", "|---|---|---|---|---|", *rows])
