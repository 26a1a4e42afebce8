"""An address, and who may listen there."""

import subprocess
import sys

import pytest

from app.errors import MisconfiguredServer
from app.launch.sockets import exclusive_port
from tests.launched import free_port

STARTING = """
import sys
from app.launch.sockets import exclusive_port

with exclusive_port("127.0.0.1", int(sys.argv[1])) as claim:
    print("starting", flush=True)
    sys.stdin.readline()
    claim.announce_stop()
    print("stopping", flush=True)
    sys.stdin.read()
"""


def test_of_two_servers_that_start_together_the_second_is_refused_until_the_first_is_gone() -> None:
    port = free_port()
    command = [sys.executable, "-c", STARTING, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "starting\n"
        with pytest.raises(MisconfiguredServer) as refusal, exclusive_port("127.0.0.1", port):
            pass
        assert str(refusal.value) == f"cannot listen on 127.0.0.1:{port}: another server is starting there"
        with exclusive_port("127.0.0.1", free_port()):
            first.kill()
    with exclusive_port("127.0.0.1", port):
        pass


def test_a_server_that_is_stopping_is_waited_for() -> None:
    port = free_port()
    command = [sys.executable, "-c", STARTING, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        print(file=first.stdin, flush=True)
        assert [first.stdout.readline() for _ in range(2)] == ["starting\n", "stopping\n"]
        reported: list[str] = []

        def end_first(line: str) -> None:
            reported.append(line)
            first.kill()

        with exclusive_port("127.0.0.1", port, end_first):
            assert reported == [f"Waiting for the server on 127.0.0.1:{port}, which is stopping."]
