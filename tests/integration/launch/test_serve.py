"""Workers on a database of their own server: how they start, share the port, and come back."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from app.embedded import EmbeddedPostgres
from app.launch.server import workers
from app.settings import Settings
from tests.launched import Launched, adserver, eventually, free_port, taken_port

READY = "Serving on"
SECRET_KEY = "only for tests"


@pytest.fixture
def server(app_database: str, tmp_path: Path) -> Iterator[Launched]:
    with Launched("serve", DATABASE_URL=app_database, SECRET_KEY=SECRET_KEY, DATA_DIR=str(tmp_path)) as launched:
        launched.wait_for(READY)
        yield launched


def refused(*command: str, **settings: str) -> tuple[int, str]:
    done = adserver(*command, **{"PORT": str(free_port()), **settings})
    return done.returncode, done.stderr


def test_workers_serve_a_migrated_database_as_the_server_s_role(server: Launched) -> None:
    assert server.get("/readyz").status_code == 200
    assert server.stop() == 0


def test_each_worker_gets_its_part_of_the_connections(server: Launched) -> None:
    with ExitStack() as stack:
        for _ in range(64):
            client = stack.enter_context(httpx.Client())
            assert client.get(f"{server.url}/healthz").status_code == 200
        parts = [len(worker.net_connections()) for worker in server.workers()]
    assert len(parts) == 2
    assert min(parts) >= 10


def test_a_worker_that_was_killed_is_started_again_while_the_other_serves(server: Launched) -> None:
    dead, other = server.workers()
    dead.kill()
    assert eventually(lambda: len({*server.workers()} - {dead}) == 2)
    replacement = next(worker for worker in server.workers() if worker != other)
    assert eventually(lambda: any(c.laddr[1] == server.port for c in replacement.net_connections()))
    assert server.get("/healthz").status_code == 200
    server.wait_for("process_ended")


def test_a_signal_to_the_process_group_stops_it_cleanly(server: Launched) -> None:
    workers = server.workers()
    assert server.stop_group(signal.SIGTERM) == 0
    assert not any(worker.is_running() for worker in workers)


def test_a_port_in_use_is_one_line(app_database: str) -> None:
    settings = {"DATABASE_URL": app_database, "SECRET_KEY": SECRET_KEY}
    with taken_port() as port:
        line = f"adserver: cannot listen on 127.0.0.1:{port}: Address already in use\n"
        assert refused("serve", PORT=str(port), **settings) == (2, line)
        assert refused("run", PORT=str(port), **settings) == (2, line)


def test_a_second_server_on_the_port_of_the_first_is_refused(server: Launched, app_database: str) -> None:
    status, complaint = refused("serve", PORT=str(server.port), DATABASE_URL=app_database, SECRET_KEY=SECRET_KEY)
    assert status == 2
    assert complaint.startswith(f"adserver: cannot listen on 127.0.0.1:{server.port}")


def test_an_address_of_another_machine_is_one_line(app_database: str) -> None:
    status, complaint = refused("serve", HOST="192.0.2.1", DATABASE_URL=app_database, SECRET_KEY=SECRET_KEY)
    assert status == 2
    assert complaint.count("\n") == 1
    assert complaint.startswith("adserver: cannot listen on 192.0.2.1:")


@pytest.mark.parametrize("command", ["run", "serve", "migrate", "export"])
def test_an_unreachable_database_is_one_line_without_its_password(command: str, tmp_path: Path) -> None:
    url = f"postgresql://someone:secret@127.0.0.1:{free_port()}/adserver"
    status, complaint = refused(command, DATABASE_URL=url, SECRET_KEY=SECRET_KEY, DATA_DIR=str(tmp_path))
    assert status == 1
    assert complaint.count("\n") == 1
    assert "secret" not in complaint


def test_a_data_directory_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, complaint = refused("run", DATA_DIR=str(tmp_path / "file"))
    assert status == 2
    assert complaint.startswith(f"adserver: ADSERVER_DATA_DIR: {tmp_path / 'file'}: ")
    assert complaint.count("\n") == 1


def test_a_schema_that_was_never_migrated_is_refused(postgres: EmbeddedPostgres) -> None:
    status, complaint = refused("serve", DATABASE_URL=postgres.url("postgres"), SECRET_KEY=SECRET_KEY)
    assert status == 2
    assert "has no schema yet" in complaint
    assert complaint.endswith("run `adserver migrate`\n")


@pytest.mark.parametrize("command", ["run", "serve"])
def test_a_database_for_serving_that_is_not_there_is_one_line(command: str, database: str, tmp_path: Path) -> None:
    settings = {"DATABASE_URL": database, "SECRET_KEY": SECRET_KEY, "DATA_DIR": str(tmp_path)}
    status, complaint = refused(command, SERVING_DATABASE="nowhere", **settings)
    assert status == 1
    assert complaint.endswith(': database "nowhere" does not exist\n')


@pytest.mark.parametrize("missing", ["DATABASE_URL", "SECRET_KEY"])
def test_serve_names_the_setting_that_it_misses(missing: str, app_database: str) -> None:
    settings = {"DATABASE_URL": app_database, "SECRET_KEY": SECRET_KEY}
    status, complaint = refused("serve", **{**settings, missing: ""})
    assert status == 2
    assert complaint.startswith(f"adserver: ADSERVER_{missing}: must be set")


@pytest.mark.parametrize("command", ["run", "serve"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.1"])
def test_nothing_starts_that_others_could_reach_with_a_weak_secret(
    command: str, host: str, database: str, tmp_path: Path
) -> None:
    strong = {"SECRET_KEY": "mKx0b2Q6sYfLw1Tz", "ADMIN_TOKEN": "9vWnR4cH8eUjPq3D"}
    settings = {"DATABASE_URL": database, "HOST": host, "DATA_DIR": str(tmp_path), "PUBLIC_URL": "https://ads.example"}
    for name, weak in (("SECRET_KEY", SECRET_KEY), ("ADMIN_TOKEN", "a"), ("ADMIN_TOKEN", "")):
        status, complaint = refused(command, **settings, **{**strong, name: weak})
        assert (status, complaint.count("\n")) == (2, 1)
        assert complaint.startswith(f"adserver: ADSERVER_{name}: ")
    assert list(tmp_path.iterdir()) == []


def test_a_server_on_every_address_says_where_its_beacons_lead(app_database: str) -> None:
    status, complaint = refused("serve", HOST="0.0.0.0", DATABASE_URL=app_database, SECRET_KEY=SECRET_KEY)
    assert status == 2
    assert complaint.splitlines()[0].startswith("ADSERVER_PUBLIC_URL is not set, and players cannot connect to 0.0.0.0")


def test_workers_are_given_the_public_url_that_was_found(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, public_url="http://198.51.100.1:8080")
    (worker, *_) = workers(settings, {})
    assert worker._environment["ADSERVER_PUBLIC_URL"] == "http://198.51.100.1:8080"


def test_every_faulty_setting_gets_its_own_line() -> None:
    status, complaint = refused("run", PORT="0", WORKERS="none", DATABASE_URL="")
    assert status == 2
    assert [line.split(":")[1].strip() for line in complaint.splitlines()] == ["ADSERVER_PORT", "ADSERVER_WORKERS"]


def test_settings_that_contradict_each_other_are_named() -> None:
    status, complaint = refused("run", UPSTREAM_DEADLINE_MS="5000", REQUEST_DEADLINE_MS="6000")
    assert status == 2
    assert "ADSERVER_UPSTREAM_DEADLINE_MS must be less than" in complaint


def test_a_database_url_of_another_kind_is_refused() -> None:
    assert refused("run", DATABASE_URL="mysql://x") == (
        2,
        "adserver: ADSERVER_DATABASE_URL: must begin with postgresql:// or postgres://\n",
    )
