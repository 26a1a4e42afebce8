"""One server process: `python -P -m app.launch.worker [FACTORY]`, started by the launcher."""

import resource
import signal
import sys

import uvicorn

from app.fast_path import CONNECTIONS_MAX, FILES_RESERVED, KEEP_ALIVE_S, uvicorn_protocol
from app.launch.child_server import ChildServer
from app.launch.sockets import shared_socket
from app.settings import Settings

APPLICATION = "app.main:create_app"
BACKLOG = 4096
GRACE_S = 5


def configuration(factory: str = APPLICATION) -> uvicorn.Config:
    """Return a worker's uvicorn options, without a Server header and an access log, which have no readers."""
    return uvicorn.Config(
        factory,
        factory=True,
        loop="uvloop",
        http=uvicorn_protocol(),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        limit_concurrency=_connections_max(),
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )


def main() -> None:
    """Serve until SIGTERM or until the launcher has ended."""
    # Ctrl-C in a terminal also reaches the launcher, which then stops its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _raise_file_limit()
    settings = Settings()
    server = ChildServer(configuration(*sys.argv[1:2]))
    server.run(sockets=[shared_socket(*address) for address in settings.addresses])


def _connections_max() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(CONNECTIONS_MAX, files - FILES_RESERVED)


def _raise_file_limit() -> None:
    """Raise the soft limit of open files, often 1,024, to the hard limit: each connection is an open file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main()
