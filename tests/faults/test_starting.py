"""A start during which processes are killed or freeze goes on by itself, or all of it ends and the next one serves."""

import os
import random
import shutil
import signal
import site
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from app.embedded.paths import is_open_to_all, postgres_root
from app.embedded.processes import find_processes
from tests.faults.storm import Storm, is_alive, launched, left_behind, unattached_segments
from tests.launched import Launched, adserver, environment, eventually, free_port, is_worker
from tests.postgres import temporary_folder

AD = "<Ad "
SERVING = "Press Ctrl-C to stop"
# With other tests beside it, on two cores.
SERVING_S = 180.0
SHORT_S = 8.0
LONG_S = 300.0
ROUND_S = 20.0
# initdb asks for the user's name, so it is one that every system has.
ORDINARY_UID = 1
CHECKOUT = Path(__file__).parents[2]
PYTHONS = [
    path
    for path in (sys.executable, "/usr/bin/python3.11")
    if Path(path).exists() and is_open_to_all(Path(path).resolve()) and is_open_to_all(CHECKOUT)
]
"""Interpreters that any user can run; root's own may lie in its home."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty data directory."""
    with temporary_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data directory with a migrated database that the tests of this module share."""
    with temporary_folder() as folder:
        assert adserver("migrate", DATA_DIR=str(folder)).returncode == 0
        yield folder


def assert_serves(folder: Path, port: int) -> None:
    """The next start serves an ad, its books agree, and when it is stopped nothing is left."""
    with launched(folder, port) as server:
        server.wait_for(SERVING, SERVING_S)
        assert AD in server.get("/vast", placement_id="preroll", user_id="viewer").text
        reconciled = adserver("reconcile", DATA_DIR=str(folder))
        assert reconciled.stdout.splitlines()[-1] == "the books agree"
        assert server.stop() == 0
    assert left_behind(folder) == []


def storm(folder: Path, port: int, seed: int, duration_s: float) -> Storm:
    raging = Storm(folder, port, random.Random(seed))
    try:
        raging.rage(duration_s)
        assert_serves(folder, port)
    except BaseException:
        print(f"seed {seed}: {raging.blows}, exit statuses {raging.statuses}")  # noqa: T201  pytest shows it.
        raise
    return raging


def test_after_a_short_storm_the_next_start_serves(folder: Path) -> None:
    before = unattached_segments()
    assert storm(folder, free_port(), seed=7, duration_s=SHORT_S).blows
    assert unattached_segments() <= before


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_after_five_minutes_of_storms_every_next_start_serves() -> None:
    before = unattached_segments()
    blows, raged_s, seed = 0, 0.0, int(os.environ.get("STORM_SEED", "1"))
    while raged_s < LONG_S:
        with temporary_folder() as folder:
            port = free_port()
            # The first storm finds no cluster, the second one that has served.
            for _ in range(2):
                blows += len(storm(folder, port, seed, ROUND_S).blows)
                raged_s += ROUND_S
                seed += 1
    assert blows > LONG_S
    assert unattached_segments() <= before


def first(server: Launched, wanted: Callable[[psutil.Process], bool]) -> psutil.Process:
    """The first process of the server that is as wanted."""
    found: list[psutil.Process] = []

    def look() -> bool:
        children = psutil.Process(server.process.pid).children(recursive=True)
        found.extend(child for child in children if wanted(child))
        return bool(found)

    assert eventually(look, SERVING_S)
    return found[0]


def is_named(name: str) -> Callable[[psutil.Process], bool]:
    def wanted(process: psutil.Process) -> bool:
        try:
            return process.name() == name
        except psutil.NoSuchProcess:
            return False

    return wanted


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_is_killed_or_freezes_while_it_starts_is_started_again(made: Path, blow: signal.Signals) -> None:
    with launched(made) as server:
        first(server, is_worker).send_signal(blow)
        server.wait_for(SERVING, SERVING_S)
        assert server.stop() == 0


def test_workers_that_never_come_up_end_the_start_in_one_line(made: Path) -> None:
    with launched(made) as server:
        while server.process.poll() is None:
            try:
                for worker in server.workers():
                    worker.kill()
            except psutil.NoSuchProcess:
                pass
            time.sleep(0.05)
        assert server.process.returncode == 1
        assert eventually(lambda: any(line.startswith("adserver: ") for line in server.output))
        (line,) = (line for line in server.output if line.startswith("adserver: "))
        assert "does not start: it ended 8 times before it was ready" in line
    assert left_behind(made) == []


@pytest.mark.parametrize("program", ["initdb", "psql", "postgres"])
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
def test_what_makes_the_database_may_be_killed_or_freeze(folder: Path, program: str, blow: signal.Signals) -> None:
    with launched(folder) as server:
        first(server, is_named(program)).send_signal(blow)
        server.wait_for(SERVING, SERVING_S)
        assert AD in server.get("/vast", placement_id="preroll").text
        assert server.stop() == 0
    assert left_behind(folder) == []


def test_a_killed_launcher_takes_all_with_it_also_what_is_frozen(made: Path) -> None:
    with launched(made) as server:
        server.wait_for(SERVING, SERVING_S)
        family = psutil.Process(server.process.pid).children(recursive=True)
        server.workers()[0].suspend()
        server.process.kill()
        server.process.wait()
        assert eventually(lambda: not any(is_alive(process) for process in family))
        with launched(made, server.port) as after:
            after.wait_for(SERVING, SERVING_S)
            assert after.stop() == 0


def test_a_frozen_postgres_of_a_killed_launcher_makes_way_for_the_next(made: Path) -> None:
    with launched(made) as server:
        server.wait_for(SERVING, SERVING_S)
        for process in find_processes(postgres_root(made) / "postgres"):
            process.suspend()
        server.process.kill()
        server.process.wait()
        with launched(made, server.port) as after:
            after.wait_for("Waiting for Postgres of an earlier start")
            after.wait_for(SERVING, SERVING_S)
            assert after.stop() == 0


@pytest.mark.parametrize("same_port", [True, False])
def test_the_next_start_waits_for_one_that_is_stopping(made: Path, same_port: bool) -> None:
    with launched(made) as server:
        server.wait_for(SERVING, SERVING_S)
        worker = server.workers()[0]
        server.process.terminate()
        assert eventually(lambda: not is_alive(worker))
        with launched(made, server.port if same_port else None) as after:
            after.wait_for(SERVING, SERVING_S)
            assert server.process.wait() == 0
            assert after.stop() == 0


def test_a_half_made_cluster_is_made_again_and_other_files_stay(folder: Path) -> None:
    with launched(folder) as server:
        first(server, is_named("initdb"))
        server.process.kill()
    unfinished = list(postgres_root(folder).glob("postgres.new-*"))
    assert unfinished
    assert adserver("migrate", DATA_DIR=str(folder)).returncode == 0
    assert left_behind(folder) == []
    cluster = postgres_root(folder) / "postgres"
    (cluster / "PG_VERSION").rename(cluster / "PG_VERSION.lost")
    refused = adserver("run", DATA_DIR=str(folder), PORT=str(free_port()))
    assert refused.returncode == 2
    assert "it has files but no PG_VERSION; move it away" in refused.stderr
    assert (cluster / "base").is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
@pytest.mark.skipif(not PYTHONS, reason="an ordinary user can run no Python 3.11")
def test_an_ordinary_user_s_server_ends_with_its_launcher_too(folder: Path) -> None:
    os.chown(folder, ORDINARY_UID, ORDINARY_UID)
    settings = environment(DATA_DIR=str(folder / "var"), PORT=str(free_port()))
    settings |= {"HOME": str(folder), "PYTHONPATH": os.pathsep.join([str(CHECKOUT), *site.getsitepackages()])}
    as_user = ["setpriv", f"--reuid={ORDINARY_UID}", f"--regid={ORDINARY_UID}", "--clear-groups"]
    for end in (signal.SIGKILL, signal.SIGTERM):
        command = [*as_user, PYTHONS[0], "-c", "from app.cli import main; main()", "run"]
        with subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, text=True, cwd="/") as run:
            assert run.stdout is not None
            assert any(SERVING in line for line in run.stdout)
            family = psutil.Process(run.pid).children(recursive=True)
            assert {process.uids().real for process in family} == {ORDINARY_UID}
            run.send_signal(end)
            assert run.wait() == (-end if end is signal.SIGKILL else 0)
            assert eventually(lambda: not any(is_alive(process) for process in family))  # noqa: B023
    assert left_behind(folder / "var") == []
