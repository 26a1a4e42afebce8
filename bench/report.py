"""The bench's results: bench/results.json, and the table that is printed and stands in docs/performance.md."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.ratios import Ratio

RESULTS = Path(__file__).parent / "results.json"

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
    results = {**before, **more, "ratios": {key: known[key] for key in MEANINGS if key in known}}
    RESULTS.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")


def table(ratios: Mapping[str, Mapping[str, float]]) -> str:
    """The ratios as a Markdown table."""
    rows = [
        f"| `{key}` | {meaning} | {ratios[key]['median']} | {ratios[key]['min']} | {ratios[key]['max']} |"
        for key, meaning in MEANINGS.items()
        if key in ratios
    ]
    return "\n".join(["| key | ratio | median | min | max |", "|---|---|---|---|---|", *rows])
