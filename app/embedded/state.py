"""Port and password of the embedded Postgres, stored for later starts and for `adserver dsn`."""

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
# Below the ports of outgoing connections on Linux, so that none of them takes the port while Postgres restarts.
PORTS = range(20_000, 30_000)
# sun_path of a unix socket without its terminating zero; see unix(7).
SOCKET_PATH_MAX_BYTES = 107


@dataclass(frozen=True, slots=True)
class State:
    """The addresses and passwords of the server."""

    port: int
    password: str
    socket_dir: str | None

    def tcp_url(self, database: str = DATABASE, role: str = SUPERUSER) -> str:
        """Return a URL for clients that may not enter the socket's folder, such as `psql`."""
        return f"postgresql://{role}:{self.password_of(role)}@127.0.0.1:{self.port}/{database}"

    def url(self, database: str = DATABASE, role: str = SUPERUSER) -> str:
        """Return a URL over the unix socket if there is one, which is a tenth faster."""
        if self.socket_dir is None:
            return self.tcp_url(database, role)
        folder = quote(self.socket_dir, safe="")
        return f"postgresql://{role}:{self.password_of(role)}@/{database}?host={folder}&port={self.port}"

    def password_of(self, role: str) -> str:
        """Return a role's password. It is derived from the superuser's, so that there is one secret to store."""
        if role == SUPERUSER:
            return self.password
        return hmac.digest(self.password.encode(), role.encode(), "sha256").hex()


def read_state(root: Path) -> State | None:
    """Return the state, or None before the first start. Raises MisconfiguredServer for a damaged file, and OSError."""
    file = root / "postgres.json"
    try:
        return State(**json.loads(file.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise MisconfiguredServer(f"ADSERVER_DATA_DIR: {file} is damaged: {error}") from error


def renew_state(root: Path, data: Path) -> State:
    """Store and return the state of the next start: the same password, and the same port unless it is taken."""
    previous = read_state(root)
    if previous is None and data.exists():
        raise MisconfiguredServer(f"ADSERVER_DATA_DIR: {data} has data, but {root / 'postgres.json'} is missing")
    wanted = previous.port if previous else PORTS.start + crc32(bytes(data)) % len(PORTS)
    port = _free_port(wanted)
    socket_path = f"{data}/.s.PGSQL.{port}"
    state = State(
        port=port,
        password=previous.password if previous else secrets.token_urlsafe(24),
        socket_dir=str(data) if len(os.fsencode(socket_path)) <= SOCKET_PATH_MAX_BYTES else None,
    )
    _write_privately(root / "postgres.json", json.dumps(asdict(state)))
    return state


def _free_port(wanted: int) -> int:
    for port in chain(range(wanted, PORTS.stop), range(PORTS.start, wanted)):
        with socket.socket() as probe:
            # As Postgres does: connections that linger after a restart must not make the port appear taken.
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
