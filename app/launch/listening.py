"""Sockets to listen on: every worker has its own on one port, and the kernel deals connections out among them."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import MisconfiguredServer


def shared_socket(host: str, port: int) -> socket.socket:
    """A worker's own socket on the port that all workers share. Raises OSError."""
    listener = _socket(host, port)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    return listener


def require_free(host: str, port: int) -> None:
    """Raises MisconfiguredServer if the address is not ours or the port is taken.

    SO_REUSEPORT alone would let a second server of the same user take half of the connections, unnoticed.
    """
    try:
        with _socket(host, port) as probe:
            probe.bind((host, port))
    except OSError as error:
        raise MisconfiguredServer(f"cannot listen on {host}:{port}: {error.strerror or error}") from error


@contextmanager
def sole_use(host: str, port: int) -> Iterator[None]:
    """Keeps every other server of this machine off the address until the end of the block.

    A server that starts does not listen yet, so the port alone tells two that start together nothing of each other.
    What does is a kind of name that Linux alone has. Raises MisconfiguredServer as `require_free` does.
    """
    require_free(host, port)
    if sys.platform != "linux":
        yield
        return
    address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][-1]
    with socket.socket(socket.AF_UNIX) as claim:
        try:
            # A name without a file, which goes with the process: see "abstract" in unix(7).
            claim.bind(f"\0adserver:{address}")
        except OSError as error:
            raise MisconfiguredServer(f"cannot listen on {host}:{port}: another server starts there") from error
        yield


def free_port(host: str) -> int:
    """A port that nobody listens on now."""
    with _socket(host, 0) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port


def _socket(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, _ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return listener
