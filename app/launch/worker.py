"""One server process: `python -P -m app.launch.worker [FACTORY]`, started by the launcher."""

import resource
import signal
import sys

import uvicorn

from app.fast_path import CONNECTIONS_MAX, FILES_RESERVED, KEEP_ALIVE_S, uvicorn_protocol
from app.launch.child_server import LaunchedServer
from app.launch.sockets import shared_socket
from app.settings import Settings

APPLICATION = "app.main:create_app"
BACKLOG = 4096
GRACE_S = 5


def configuration(factory: str = APPLICATION) -> uvicorn.Config:
    """How a worker serves; without its name in every answer and the log line for each request, which nobody reads."""
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
    """Serves until SIGTERM or until the launcher is gone."""
    # Ctrl-C in a terminal reaches the launcher too, which then stops its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _allow_connections()
    settings = Settings()
    server = LaunchedServer(configuration(*sys.argv[1:2]))
    server.run(sockets=[shared_socket(*address) for address in settings.addresses])


def _connections_max() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(CONNECTIONS_MAX, files - FILES_RESERVED)


def _allow_connections() -> None:
    """A connection is an open file, of which a shell often allows 1,024 until it is asked for more."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main()
