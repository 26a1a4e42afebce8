"""A database cluster on disk: made once, configured at each start, with one database in it."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.embedded.configuration import configuration_file
from app.embedded.home import Home
from app.embedded.state import DATABASE, SUPERUSER, State
from app.errors import StoreUnavailable

PROGRAM_TIMEOUT_S = 120

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
    """Runs initdb unless there is a cluster; it gets its name when it is complete.

    Raises StoreUnavailable with initdb's reason if it fails.
    """
    if home.data.exists():
        return
    unfinished = home.root / "postgres.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    os.chown(unfinished, home.uid, home.gid)
    password_file = home.root / "initdb.password"
    try:
        _write_for(home, password_file, password)
        _run(home, "initdb", [*INITDB_OPTIONS, f"--pgdata={unfinished}", f"--pwfile={password_file}"])
    finally:
        password_file.unlink(missing_ok=True)
    unfinished.rename(home.data)


def configure(home: Home, settings: Mapping[str, str]) -> None:
    """Writes postgresql.conf, which lies outside the cluster because its owner differs from ours."""
    file = home.root / "postgresql.conf"
    file.write_text(configuration_file(settings))
    file.chmod(0o644)


def create_database(home: Home, state: State) -> None:
    """Makes the database unless it is there. Raises StoreUnavailable with psql's reason."""
    server = ["--host=127.0.0.1", f"--port={state.port}", f"--username={SUPERUSER}", "--dbname=postgres"]
    options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--set=name={DATABASE}"]
    _run(home, "psql", [*server, *options], script=CREATE_DATABASE, password=state.password)


def _run(home: Home, program: str, arguments: Sequence[str], *, script: str = "", password: str = "") -> None:
    done = subprocess.run(
        [str(home.programs / program), *arguments],
        input=script,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={"LC_ALL": "C", "PGPASSWORD": password},
        timeout=PROGRAM_TIMEOUT_S,
        **home.credentials,
    )
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
