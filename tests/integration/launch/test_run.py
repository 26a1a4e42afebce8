"""`adserver run` with its embedded Postgres: it starts, stops, and starts again, whatever happened."""

import os
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.embedded import running_dsn
from app.embedded.home import home_root
from app.embedded.processes import processes_of
from app.launch.keys import KEY_FILE
from tests.launched import Launched, adserver, environment, eventually, free_port
from tests.postgres import PREFIX, TEMPORARY

AD = "<Ad "
REQUESTS = ("01890a5d-ac96-774b-bcce-b302099a8057", "01890a5d-ac96-774b-bcce-b302099a8058")


@pytest.fixture(scope="module")
def kept_folder() -> Iterator[Path]:
    """A data directory that the tests of this module share, so that it is made once."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=TEMPORARY))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def launched(folder: Path, port: int | None = None) -> Launched:
    return Launched("run", port=port, DATA_DIR=str(folder))


def running(folder: Path) -> Launched:
    server = launched(folder)
    server.wait_for("Stop it with Ctrl-C")
    return server


def test_a_first_run_serves_the_tag_that_it_prints(kept_folder: Path) -> None:
    with launched(kept_folder) as server:
        tag = server.wait_for("Ad tag:").split()[-1]
        answer = server.get(tag.removeprefix(server.url))
        assert answer.status_code == 200
        assert AD in answer.text
        assert server.stop() == 0
    assert any("demo campaigns" in line for line in server.output)


def test_a_run_after_a_stop_finds_its_data_and_migrates_nothing(kept_folder: Path) -> None:
    with running(kept_folder) as server:
        first = server.get("/vast", placement_id="preroll", user_id="u1", request_id=REQUESTS[0])
        assert server.stop() == 0
    with running(kept_folder) as server:
        again = server.get("/vast", placement_id="preroll", user_id="u1", request_id=REQUESTS[0])
        assert AD in first.text
        assert again.text == first.text
        assert not any("Migrated" in line or "demo campaigns" in line for line in server.output)


def test_a_run_after_everything_was_killed_finds_its_data(kept_folder: Path) -> None:
    with running(kept_folder) as server:
        first = server.get("/vast", placement_id="preroll", user_id="u2", request_id=REQUESTS[1])
        for process in processes_of(home_root(kept_folder) / "postgres"):
            process.kill()
        server.kill_group()
    with running(kept_folder) as server:
        again = server.get("/vast", placement_id="preroll", user_id="u2", request_id=REQUESTS[1])
        assert AD in first.text
        assert again.text == first.text


def test_workers_end_with_a_launcher_that_was_killed_and_the_next_run_takes_its_place(kept_folder: Path) -> None:
    with running(kept_folder) as server:
        workers = server.workers()
        server.process.kill()
        server.process.wait()
        assert workers
        assert eventually(lambda: not any(alive(worker) for worker in workers))
        with launched(kept_folder, server.port) as next_server:
            next_server.wait_for("Stop it with Ctrl-C")
            assert next_server.get("/healthz").status_code == 200


def test_a_stop_leaves_no_process_behind(kept_folder: Path) -> None:
    with running(kept_folder) as server:
        family = psutil.Process(server.process.pid).children(recursive=True)
        assert server.stop_group(signal.SIGINT) == 0
    assert family
    assert not any(alive(process) for process in family)
    assert running_dsn(kept_folder) is None


def test_a_signal_ends_a_start_too(kept_folder: Path) -> None:
    with launched(kept_folder) as server:
        assert eventually(lambda: processes_of(home_root(kept_folder) / "postgres"))
        assert server.stop() in (0, 128 + signal.SIGTERM)
    assert eventually(lambda: running_dsn(kept_folder) is None)


def test_the_printed_psql_lines_let_finance_and_the_dba_in(kept_folder: Path) -> None:
    with launched(kept_folder) as server:
        finance = server.wait_for("Finance:").removeprefix("Finance:").strip()
        dba = server.wait_for("DBA:").removeprefix("DBA:").strip()
        for line, user in ((finance, "adserver_finance"), (dba, "postgres")):
            command = f"{line} --no-psqlrc -At -c 'SELECT current_user'"
            done = subprocess.run(
                ["/bin/sh", "-c", command], env=environment(DATA_DIR=str(kept_folder)), capture_output=True, text=True
            )
            assert done.stderr == ""
            assert done.stdout.splitlines()[-1] == user


def test_the_secret_key_is_made_once_and_for_our_eyes_alone(kept_folder: Path) -> None:
    with running(kept_folder):
        file = kept_folder / KEY_FILE
        key = file.read_text()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with running(kept_folder):
        assert file.read_text() == key


def test_a_second_launcher_on_one_data_directory_is_refused_in_one_line(kept_folder: Path) -> None:
    with running(kept_folder) as server:
        refused = adserver("run", DATA_DIR=str(kept_folder), PORT=str(free_port()))
        assert refused.returncode == 2
        assert refused.stderr == (
            f"adserver: ADSERVER_DATA_DIR: process {server.process.pid} already runs Postgres in {kept_folder}\n"
        )


def test_commands_find_the_running_database_and_start_a_stopped_one(kept_folder: Path) -> None:
    with running(kept_folder):
        while_running = adserver("export", DATA_DIR=str(kept_folder))
    stopped = adserver("export", DATA_DIR=str(kept_folder))
    assert "[[campaigns]]" in stopped.stdout
    assert stopped.stdout == while_running.stdout
    assert running_dsn(kept_folder) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's Postgres has to live elsewhere")
def test_root_in_a_folder_that_nobody_else_can_enter_is_told_where_the_data_are(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    folder = tmp_path / "var"
    try:
        with launched(folder) as server:
            place = server.wait_for("Database:").split()[-1]
            assert Path(place) == home_root(folder)
            assert not home_root(folder).is_relative_to(tmp_path)
            assert AD in server.get("/vast", placement_id="preroll").text
            assert server.stop() == 0
    finally:
        shutil.rmtree(home_root(folder))


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
