"""A database cluster on disk: created once, configured at each start, holding one database."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.embedded.configuration import configuration_file
from app.embedded.paths import PostgresPaths
from app.embedded.processes import kill_all
from app.embedded.state import DATABASE, SUPERUSER, State
from app.errors import MisconfiguredServer, StoreUnavailable
from app.parent_death import bound_command

PROGRAM_TIMEOUT_S = 120
UNFINISHED = "postgres.new-"

# The same collation on every machine, independent of its locales; checksums are on by default since 18.
INITDB_OPTIONS = (
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--auth=scram-sha-256",
    f"--username={SUPERUSER}",
)

CREATE_DATABASE = """
SELECT format('CREATE DATABASE %I', :'name')
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name')
\\gexec
"""
"""Create the database unless it exists; PostgreSQL has no CREATE DATABASE IF NOT EXISTS."""


def initialize(paths: PostgresPaths, password: str) -> None:
    """Run initdb unless the cluster exists. The cluster is renamed when it is complete, so remove incomplete ones.

    Raises StoreUnavailable with initdb's reason if it fails, and MisconfiguredServer for a folder with other files.
    """
    if (paths.data / "PG_VERSION").exists():
        return
    if paths.data.exists():
        _remove_empty(paths.data)
    for abandoned in paths.root.glob(f"{UNFINISHED}*"):
        kill_all(abandoned)
        shutil.rmtree(abandoned, ignore_errors=True)
    # A unique name, so that an abandoned initdb that is still writing does not write here.
    unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=paths.root))
    os.chown(unfinished, paths.uid, paths.gid)
    password_file = paths.root / "initdb.password"
    try:
        _write_owned_file(paths, password_file, password)
        _run(paths, "initdb", [*INITDB_OPTIONS, f"--pgdata={unfinished}", f"--pwfile={password_file}"], unfinished)
    finally:
        password_file.unlink(missing_ok=True)
    unfinished.rename(paths.data)


def _remove_empty(data: Path) -> None:
    try:
        data.rmdir()
    except OSError:
        raise MisconfiguredServer(
            f"ADSERVER_DATA_DIR: {data} is not a Postgres cluster: it has files but no PG_VERSION; move it away"
        ) from None


def write_configuration(paths: PostgresPaths, settings: Mapping[str, str]) -> None:
    """Write postgresql.conf; it is outside the cluster because the cluster belongs to another user."""
    file = paths.root / "postgresql.conf"
    file.write_text(configuration_file(settings))
    file.chmod(0o644)


def create_database(paths: PostgresPaths, state: State) -> None:
    """Create the database unless it exists. Raises StoreUnavailable with psql's reason."""
    server = ["--host=127.0.0.1", f"--port={state.port}", f"--username={SUPERUSER}", "--dbname=postgres"]
    options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--set=name={DATABASE}"]
    _run(paths, "psql", [*server, *options], paths.data, script=CREATE_DATABASE, password=state.password)


def _run(
    paths: PostgresPaths, program: str, arguments: Sequence[str], folder: Path, *, script: str = "", password: str = ""
) -> None:
    """Run a program in the folder that it works on, so that `find_processes` finds it if it outlives this process."""
    command = [str(paths.programs / program), *arguments]
    try:
        done = subprocess.run(
            bound_command(command, signal.SIGKILL, **paths.user),
            input=script,
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            env={"LC_ALL": "C", "PGPASSWORD": password},
            timeout=PROGRAM_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise StoreUnavailable(f"{program} did not finish within {PROGRAM_TIMEOUT_S} s") from None
    if done.returncode < 0:
        raise StoreUnavailable(f"{program} was killed by signal {-done.returncode}")
    if done.returncode != 0:
        lines = done.stderr.splitlines()
        complaints = [line for line in lines if "error:" in line.lower()] or lines or ["no error message"]
        raise StoreUnavailable(f"{program} failed: {complaints[0]}")


def _write_owned_file(paths: PostgresPaths, file: Path, text: str) -> None:
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.fchown(descriptor, paths.uid, paths.gid)
    with os.fdopen(descriptor, "w") as out:
        out.write(text)
