"""What one start of the embedded Postgres leaves for the next, and for `adserver dsn`: its port and its password."""

import hmac
import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from urllib.parse import quote
from zlib import crc32

from app.errors import MisconfiguredServer

DATABASE = "adserver"
SUPERUSER = "postgres"
# Below the ports that Linux gives to outgoing connections, so that none takes ours while Postgres restarts.
PORTS = range(20_000, 30_000)
# sun_path of a unix socket, see unix(7), less its closing zero.
SOCKET_PATH_MAX_BYTES = 107


@dataclass(frozen=True, slots=True)
class State:
    """How to reach the server."""

    port: int
    password: str
    socket_dir: str | None

    def tcp_url(self, database: str = DATABASE, role: str = SUPERUSER) -> str:
        """For `psql` and whoever else may not enter the socket's folder."""
        return f"postgresql://{role}:{self.password_of(role)}@127.0.0.1:{self.port}/{database}"

    def url(self, database: str = DATABASE, role: str = SUPERUSER) -> str:
        """Over the unix socket, a tenth faster, where there is one."""
        if self.socket_dir is None:
            return self.tcp_url(database, role)
        folder = quote(self.socket_dir, safe="")
        return f"postgresql://{role}:{self.password_of(role)}@/{database}?host={folder}&port={self.port}"

    def password_of(self, role: str) -> str:
        """The other roles' passwords follow from the superuser's, so that there is one secret to keep."""
        if role == SUPERUSER:
            return self.password
        return hmac.digest(self.password.encode(), role.encode(), "sha256").hex()


def read_state(root: Path) -> State | None:
    """None if Postgres was never started here. Raises MisconfiguredServer if the file is damaged, and OSError."""
    file = root / "postgres.json"
    try:
        return State(**json.loads(file.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise MisconfiguredServer(f"ADSERVER_DATA_DIR: {file} is damaged: {error}") from error


def renewed_state(root: Path, data: Path) -> State:
    """The state of the next start: the same password, and the same port unless somebody else listens there."""
    before = read_state(root)
    if before is None and data.exists():
        raise MisconfiguredServer(f"ADSERVER_DATA_DIR: {data} has data, but {root / 'postgres.json'} is missing")
    wanted = before.port if before else PORTS.start + crc32(bytes(data)) % len(PORTS)
    port = _free_port(wanted)
    socket_path = f"{data}/.s.PGSQL.{port}"
    state = State(
        port=port,
        password=before.password if before else secrets.token_urlsafe(24),
        socket_dir=str(data) if len(os.fsencode(socket_path)) <= SOCKET_PATH_MAX_BYTES else None,
    )
    _write_privately(root / "postgres.json", json.dumps(asdict(state)))
    return state


def _free_port(wanted: int) -> int:
    for port in chain(range(wanted, PORTS.stop), range(PORTS.start, wanted)):
        with socket.socket() as probe:
            # Postgres sets it as well: connections that linger after a restart do not make a port taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise MisconfiguredServer(
        f"no free port on 127.0.0.1 from {PORTS.start} to {PORTS.stop}; set ADSERVER_DATABASE_URL"
    )


def _write_privately(file: Path, text: str) -> None:
    unfinished = file.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    unfinished.replace(file)
