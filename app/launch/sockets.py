"""Listening sockets: each worker has its own on a shared port, and the kernel distributes connections among them."""

import errno
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from app.errors import MisconfiguredServer

# A stopping server finishes its last requests and writes a checkpoint.
STOP_WAIT_S = 90
# Workers are killed with their launcher; the kernel needs a moment to close their port.
ORPHANS_S = 2.0
POLL_S = 0.05


def shared_socket(host: str, port: int) -> socket.socket:
    """Return a worker's own socket on the port that all workers share. Raises OSError."""
    listener = _socket(host, port)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    return listener


def require_free(host: str, port: int) -> None:
    """Raise MisconfiguredServer if this machine does not have the address, or the port is taken.

    SO_REUSEPORT alone would silently give a second server of the same user half of the connections.
    """
    try:
        with _socket(host, port) as probe:
            probe.bind((host, port))
    except OSError as error:
        raise MisconfiguredServer(f"cannot listen on {host}:{port}: {error.strerror or error}") from error


class AddressClaim:
    """A launcher's claim to an address, by names in Linux's abstract socket namespace (unix(7)).

    The names have no file and vanish with the process, so a killed launcher does not keep them.
    """

    def __init__(self, host: str, port: int) -> None:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][-1]
        self._name = f"\0adserver:{address}"
        self._stack = ExitStack()

    def try_acquire(self) -> bool:
        """Acquire the claim; return False if another launcher has it."""
        claim = self._stack.enter_context(socket.socket(socket.AF_UNIX))
        try:
            claim.bind(self._name)
        except OSError:
            return False
        return True

    def announce_stop(self) -> None:
        """Let the next launcher wait for this one to end, instead of refusing to start."""
        if sys.platform == "linux":
            marker = self._stack.enter_context(socket.socket(socket.AF_UNIX))
            marker.bind(f"{self._name}:stopping")
            marker.listen()

    def is_owner_stopping(self) -> bool:
        """Return whether the launcher that has the claim is stopping."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(POLL_S)
            return probe.connect_ex(f"{self._name}:stopping") != errno.ECONNREFUSED

    def close(self) -> None:
        """Release the claim."""
        self._stack.close()


@contextmanager
def exclusive_port(host: str, port: int, report: Callable[[str], None] = lambda _: None) -> Iterator[AddressClaim]:
    """Reserve the address for this launcher until the end of the block.

    The port alone does not suffice: a server that is starting does not listen yet. Waits for a server that is stopping,
    and reports the wait; waits a moment for the workers of a killed launcher. Raises MisconfiguredServer as
    `require_free` does.
    """
    claim = _address_claim(host, port)
    try:
        if sys.platform == "linux":
            _acquire(claim, host, port, report)
        _await_free(host, port)
        yield claim
    finally:
        claim.close()


def _address_claim(host: str, port: int) -> AddressClaim:
    try:
        return AddressClaim(host, port)
    except OSError as error:
        raise MisconfiguredServer(f"cannot listen on {host}:{port}: {error.strerror or error}") from error


def _acquire(claim: AddressClaim, host: str, port: int, report: Callable[[str], None]) -> None:
    deadline = time.monotonic() + STOP_WAIT_S
    reported = False
    while not claim.try_acquire():
        if not claim.is_owner_stopping() or time.monotonic() > deadline:
            # It may have ended between the two checks.
            if claim.try_acquire():
                return
            require_free(host, port)
            raise MisconfiguredServer(f"cannot listen on {host}:{port}: another server is starting there")
        if not reported:
            report(f"Waiting for the server on {host}:{port}, which is stopping.")
            reported = True
        time.sleep(POLL_S)


def _await_free(host: str, port: int) -> None:
    deadline = time.monotonic() + ORPHANS_S
    while True:
        try:
            require_free(host, port)
        except MisconfiguredServer as error:
            taken = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
            if not taken or time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)
        else:
            return


def free_port(host: str) -> int:
    """Return a port on which no program listens."""
    with _socket(host, 0) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port


def _socket(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, _ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return listener
