"""How large a bench is: the full one, and a small one that only shows that it works."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Durations in seconds, and sizes. `warm_s` and `measured_s` lie within `load_s`."""

    turns: int
    """How often each side is run: A B, then B A, and so on, so that six turns are A B B A three times."""
    load_s: int
    warm_s: float
    measured_s: float
    wal_files: int
    """WAL files that are there before the first run, as in a Postgres that has been through checkpoints under load."""
    cap_rows_many: int
    cap_rows_few: int
    pgbench_clients: tuple[int, ...]
    """The client counts of which the reference's best is taken."""
    serves_for_memory: int
    memory_s_max: int
    """How long the server is loaded at the most to reach that number."""
    targeted_campaigns: int
    plot_loads: tuple[float, ...]
    """Parts of the server's peak at which its latency is plotted."""


FULL = Scale(
    turns=6,
    load_s=2,
    warm_s=0.4,
    measured_s=1.5,
    wal_files=64,
    cap_rows_many=10_000_000,
    cap_rows_few=10_000,
    pgbench_clients=(1, 2, 4, 8, 16, 32),
    serves_for_memory=1_000_000,
    memory_s_max=60,
    targeted_campaigns=10_000,
    plot_loads=(0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
)

SMALL = Scale(
    turns=1,
    load_s=1,
    warm_s=0.2,
    measured_s=0.7,
    wal_files=4,
    cap_rows_many=20_000,
    cap_rows_few=2_000,
    pgbench_clients=(2, 4),
    serves_for_memory=1_000,
    memory_s_max=1,
    targeted_campaigns=200,
    plot_loads=(0.2, 0.6),
)

CAMPAIGNS = 100
ADS_PER_POD = 4
PLACEMENTS = CAMPAIGNS // ADS_PER_POD
"""Placements that have the campaigns between them, as many each as a pod has ads."""
TARGETED_PLACEMENTS = 100
"""Placements among which the targeted campaigns are divided."""
WORKERS = 2
VIEWERS = 100_000
"""Viewers among whom each request chooses one at random."""

PLAYERS, FEWER_PLAYERS = 256, 64
"""Players that ask all the time, each as soon as it has its answer: those of the keys, and of their `_64` siblings."""

OVERLOAD = 5
"""How many times as many players as saturate the server."""

UPSTREAM_PLAYERS = 200
UPSTREAM_DELAY_MS = 50
BEACONS_PER_S_MAX = 25_000
"""Beacons prepared for each second of a run, more than are ever sent."""

REPORT_S = 2
TAIL_LOAD = 0.7
"""The part of its peak at which the server's latency is compared."""
