"""A database cluster on disk: made once, configured at each start, with one database in it."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.embedded.configuration import configuration_file
from app.embedded.home import Home
from app.embedded.processes import kill_all
from app.embedded.state import DATABASE, SUPERUSER, State
from app.errors import MisconfiguredServer, StoreUnavailable
from app.parent_death import bound_command

PROGRAM_TIMEOUT_S = 120
UNFINISHED = "postgres.new-"

# The same collation on every machine, whatever locales it has; checksums are on by default since 18.
INITDB_OPTIONS = (
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--auth=scram-sha-256",
    f"--username={SUPERUSER}",
)

# Makes the server's database unless it is there; PostgreSQL has no CREATE DATABASE IF NOT EXISTS.
CREATE_DATABASE = """
SELECT format('CREATE DATABASE %I', :'name')
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name')
\\gexec
"""


def initialise(home: Home, password: str) -> None:
    """Runs initdb unless there is a cluster; it gets its name when it is complete, so one without a name is removed.

    Raises StoreUnavailable with initdb's reason if it fails, and MisconfiguredServer for a folder with other files.
    """
    if (home.data / "PG_VERSION").exists():
        return
    if home.data.exists():
        _remove_empty(home.data)
    for abandoned in home.root.glob(f"{UNFINISHED}*"):
        kill_all(abandoned)
        shutil.rmtree(abandoned, ignore_errors=True)
    # Its own name, so that what an abandoned initdb still writes is not written here.
    unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=home.root))
    os.chown(unfinished, home.uid, home.gid)
    password_file = home.root / "initdb.password"
    try:
        _write_for(home, password_file, password)
        _run(home, "initdb", [*INITDB_OPTIONS, f"--pgdata={unfinished}", f"--pwfile={password_file}"], unfinished)
    finally:
        password_file.unlink(missing_ok=True)
    unfinished.rename(home.data)


def _remove_empty(data: Path) -> None:
    try:
        data.rmdir()
    except OSError:
        raise MisconfiguredServer(
            f"ADSERVER_DATA_DIR: {data} is no Postgres cluster: it has files, but no PG_VERSION; move it away"
        ) from None


def configure(home: Home, settings: Mapping[str, str]) -> None:
    """Writes postgresql.conf, which lies outside the cluster because its owner differs from ours."""
    file = home.root / "postgresql.conf"
    file.write_text(configuration_file(settings))
    file.chmod(0o644)


def create_database(home: Home, state: State) -> None:
    """Makes the database unless it is there. Raises StoreUnavailable with psql's reason."""
    server = ["--host=127.0.0.1", f"--port={state.port}", f"--username={SUPERUSER}", "--dbname=postgres"]
    options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--set=name={DATABASE}"]
    _run(home, "psql", [*server, *options], home.data, script=CREATE_DATABASE, password=state.password)


def _run(
    home: Home, program: str, arguments: Sequence[str], folder: Path, *, script: str = "", password: str = ""
) -> None:
    """Runs it in the folder that it works on, by which it is found should it outlive us."""
    command = [str(home.programs / program), *arguments]
    try:
        done = subprocess.run(
            bound_command(command, signal.SIGKILL, **home.user),
            input=script,
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            env={"LC_ALL": "C", "PGPASSWORD": password},
            timeout=PROGRAM_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise StoreUnavailable(f"{program} does not end within {PROGRAM_TIMEOUT_S} s") from None
    if done.returncode < 0:
        raise StoreUnavailable(f"{program} was ended by signal {-done.returncode}")
    if done.returncode != 0:
        lines = done.stderr.splitlines()
        complaints = [line for line in lines if "error:" in line.lower()] or lines or ["it says nothing"]
        raise StoreUnavailable(f"{program} fails: {complaints[0]}")


def _write_for(home: Home, file: Path, text: str) -> None:
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.fchown(descriptor, home.uid, home.gid)
    with os.fdopen(descriptor, "w") as out:
        out.write(text)
