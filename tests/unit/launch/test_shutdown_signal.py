"""Signals, sent to a process that waits for them."""

import signal
import subprocess
import sys

import pytest

WAITING = """
import asyncio
from app.launch.shutdown_signal import ShutdownSignal

async def main() -> None:
    waiting = asyncio.ensure_future(ShutdownSignal().wait())
    await asyncio.sleep(0)
    print("waiting", flush=True)
    await waiting
    print("stopped")

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_a_script_runs_in_the_background_stops_when_it_is_told_to(number: signal.Signals) -> None:
    """A shell has such a process ignore SIGINT."""
    in_background = ["/bin/sh", "-c", 'trap "" INT; exec "$0" -c "$1"', sys.executable, WAITING]
    with subprocess.Popen(in_background, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(number)
        assert process.communicate(timeout=10)[0] == "stopped\n"
