"""Sockets to listen on: every worker has its own on one port, and the kernel deals connections out among them."""

import errno
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from app.errors import MisconfiguredServer

# Workers have a grace for their last requests, and Postgres writes a checkpoint.
STOPPING_S = 90
# Workers are killed with their launcher; to close a port takes the kernel a moment.
ORPHANS_S = 2.0
LOOK_S = 0.05


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


class Claim:
    """A launcher's claim to an address, by kinds of names that Linux alone has: see "abstract" in unix(7).

    They have no file and go with the process, so a killed launcher never keeps them.
    """

    def __init__(self, host: str, port: int) -> None:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][-1]
        self._name = f"\0adserver:{address}"
        self._stack = ExitStack()

    def take(self) -> bool:
        """Whether no other launcher has it."""
        claim = self._stack.enter_context(socket.socket(socket.AF_UNIX))
        try:
            claim.bind(self._name)
        except OSError:
            return False
        return True

    def announce_stop(self) -> None:
        """Lets the next launcher wait for the end of this one, rather than refuse to start."""
        if sys.platform == "linux":
            sign = self._stack.enter_context(socket.socket(socket.AF_UNIX))
            sign.bind(f"{self._name}:stopping")
            sign.listen()

    def is_ending(self) -> bool:
        """Whether the launcher that has it is stopping."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(LOOK_S)
            return probe.connect_ex(f"{self._name}:stopping") != errno.ECONNREFUSED

    def close(self) -> None:
        """Gives it up."""
        self._stack.close()


@contextmanager
def sole_use(host: str, port: int, report: Callable[[str], None] = lambda _: None) -> Iterator[Claim]:
    """Keeps every other server of this machine off the address until the end of the block.

    A server that starts does not listen yet, so the port alone tells two that start together nothing of each other.
    Waits for a server that is stopping, and reports that, and a moment for the workers of a launcher that was killed.
    Raises MisconfiguredServer as `require_free` does.
    """
    claim = _address_claim(host, port)
    try:
        if sys.platform == "linux":
            _take(claim, host, port, report)
        _await_free(host, port)
        yield claim
    finally:
        claim.close()


def _address_claim(host: str, port: int) -> Claim:
    try:
        return Claim(host, port)
    except OSError as error:
        raise MisconfiguredServer(f"cannot listen on {host}:{port}: {error.strerror or error}") from error


def _take(claim: Claim, host: str, port: int, report: Callable[[str], None]) -> None:
    deadline = time.monotonic() + STOPPING_S
    reported = False
    while not claim.take():
        if not claim.is_ending() or time.monotonic() > deadline:
            # It may have ended between the two looks.
            if claim.take():
                return
            require_free(host, port)
            raise MisconfiguredServer(f"cannot listen on {host}:{port}: another server starts there")
        if not reported:
            report(f"Waiting for the server on {host}:{port}, which is stopping.")
            reported = True
        time.sleep(LOOK_S)


def _await_free(host: str, port: int) -> None:
    deadline = time.monotonic() + ORPHANS_S
    while True:
        try:
            require_free(host, port)
        except MisconfiguredServer as error:
            taken = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
            if not taken or time.monotonic() > deadline:
                raise
            time.sleep(LOOK_S)
        else:
            return


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
