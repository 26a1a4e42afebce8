import os
import subprocess
import sys

from bench.processes import ROOT


def run(**environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "bench"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_small_bench_serves_reconciles_and_compares() -> None:
    done = run(SMALL="1", ONLY="hot,wal")
    assert done.returncode == 0, done.stderr
    assert "| `hot` |" in done.stdout
    assert "| `wal` |" in done.stdout


def test_a_ratio_that_there_is_not_is_refused() -> None:
    done = run(ONLY="warp")
    assert done.returncode == 2
    assert "warp" in done.stderr
