"""`adserver run` with its embedded Postgres: it starts, stops, and starts again after any kind of end."""

import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from app.embedded import running_dsn
from app.embedded.paths import postgres_root
from app.embedded.processes import find_processes
from app.launch.secret_key import KEY_FILE
from app.store.roles import APP, FINANCE
from tests.launched import Launched, adserver, environment, eventually, free_port
from tests.postgres import temporary_folder

AD = "<Ad "
SERVING = "Press Ctrl-C to stop"
REQUEST = {"placement_id": "preroll", "user_id": "viewer", "request_id": "01890a5d-ac96-774b-bcce-b302099a8057"}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A data directory that the tests of this module share, so that it is made once."""
    with temporary_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Launched]:
    """The first run, which goes on until a test stops it."""
    with launched(folder) as server:
        server.wait_for(SERVING)
        yield server


def launched(folder: Path, port: int | None = None) -> Launched:
    # Beacons carry the public URL, and answers are compared.
    return Launched("run", port=port, DATA_DIR=str(folder), PUBLIC_URL="http://ads.example")


def printed(server: Launched, name: str) -> str:
    """The value that the server printed after this name."""
    line = next(line for line in server.output if line.startswith(f"{name}:"))
    return line.removeprefix(f"{name}:").strip()


def test_a_first_run_serves_the_tag_that_it_prints(server: Launched) -> None:
    assert any("loaded the demo campaigns" in line for line in server.output)
    tag = printed(server, "Ad tag").removeprefix("http://ads.example")
    answer = server.get(tag)
    assert answer.status_code == 200
    assert AD in answer.text


@pytest.mark.parametrize(("name", "user"), [("Finance", "adserver_finance"), ("DBA", "postgres")])
def test_the_printed_psql_lines_let_finance_and_the_dba_in(
    name: str, user: str, server: Launched, folder: Path
) -> None:
    command = printed(server, name).partition(" -- ")[0] + " -- --no-psqlrc -At -c 'SELECT current_user'"
    shell = subprocess.run(
        ["/bin/sh", "-c", command], env=environment(DATA_DIR=str(folder)), capture_output=True, text=True, check=False
    )
    assert (shell.stdout, shell.stderr) == (f"{user}\n", "")


def test_nothing_that_is_printed_or_runs_shows_a_password(server: Launched, folder: Path) -> None:
    passwords = {role: urlsplit(running_dsn(folder, role) or "").password or "" for role in ("postgres", APP, FINANCE)}
    command = ["psql", "--", "--no-psqlrc", "-c", "SELECT pg_sleep(60)"]
    with Launched(*command, DATA_DIR=str(folder)) as psql:
        assert eventually(lambda: "--no-psqlrc" in psutil.Process(psql.process.pid).cmdline()[2:])
        assert eventually(lambda: psutil.Process(psql.process.pid).name() == "psql")
        lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
        psql.kill_group()
    assert all(passwords.values())
    shown = "".join([*lines, *server.output])
    assert [role for role, password in passwords.items() if password in shown] == []


def test_the_secret_key_is_for_our_eyes_alone(server: Launched, folder: Path) -> None:
    assert server
    assert stat.S_IMODE((folder / KEY_FILE).stat().st_mode) == 0o600


def test_a_second_launcher_on_one_data_directory_is_refused_in_one_line(server: Launched, folder: Path) -> None:
    refused = adserver("run", DATA_DIR=str(folder), PORT=str(free_port()))
    assert refused.returncode == 2
    assert refused.stderr == (
        f"adserver: ADSERVER_DATA_DIR: process {server.process.pid} already runs Postgres in {folder}\n"
    )


def test_commands_find_the_running_database_and_start_a_stopped_one(server: Launched, folder: Path) -> None:
    while_running = adserver("export", DATA_DIR=str(folder))
    family = psutil.Process(server.process.pid).children(recursive=True)
    assert server.stop_group(signal.SIGINT) == 0
    assert family
    assert not any(alive(process) for process in family)
    assert running_dsn(folder) is None
    stopped = adserver("export", DATA_DIR=str(folder))
    assert "[[campaigns]]" in stopped.stdout
    assert stopped.stdout == while_running.stdout
    assert running_dsn(folder) is None


def test_data_and_key_outlive_a_stop_and_kill_9_of_everything(folder: Path) -> None:
    answers = []
    for end in ("stop", "kill", "stop"):
        with launched(folder) as server:
            server.wait_for(SERVING)
            answers.append(server.get("/vast", **REQUEST).text)
            assert not any("Migrated" in line or "demo campaigns" in line for line in server.output)
            if end == "stop":
                assert server.stop() == 0
            else:
                for process in find_processes(postgres_root(folder) / "postgres"):
                    process.kill()
                server.kill_group()
    assert AD in answers[0]
    assert answers[1:] == answers[:1] * 2


def test_workers_end_with_a_launcher_that_was_killed_and_the_next_run_takes_its_place(folder: Path) -> None:
    with launched(folder) as server:
        server.wait_for(SERVING)
        workers = server.workers()
        server.process.kill()
        server.process.wait()
        assert workers
        assert eventually(lambda: not any(alive(worker) for worker in workers))
        with launched(folder, server.port) as next_server:
            next_server.wait_for(SERVING)
            assert next_server.get("/healthz").status_code == 200


def test_psql_says_that_the_embedded_postgres_does_not_run(folder: Path) -> None:
    refused = adserver("psql", DATA_DIR=str(folder))
    assert (refused.returncode, refused.stderr) == (
        1,
        "adserver: the embedded Postgres is not running; start it with `adserver run`\n",
    )


def test_a_signal_ends_a_start_too(folder: Path) -> None:
    with launched(folder) as server:
        assert eventually(lambda: find_processes(postgres_root(folder) / "postgres"))
        assert server.stop() in (0, 128 + signal.SIGTERM)
    assert running_dsn(folder) is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_and_the_database_that_it_started(folder: Path, number: signal.Signals) -> None:
    with Launched("maintain", DATA_DIR=str(folder)) as command:
        assert eventually(lambda: running_dsn(folder))
        assert command.stop(number) in (0, 128 + number)
    assert running_dsn(folder) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's Postgres has to live elsewhere")
def test_root_in_a_folder_that_nobody_else_can_enter_is_told_where_the_data_are(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    folder = tmp_path / "var"
    try:
        with launched(folder) as server:
            server.wait_for(SERVING)
            assert not postgres_root(folder).is_relative_to(tmp_path)
            assert printed(server, "Database").endswith(str(postgres_root(folder)))
            assert AD in server.get("/vast", placement_id="preroll").text
            assert server.stop() == 0
    finally:
        shutil.rmtree(postgres_root(folder))


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
