"""Whatever an upstream does, the player gets the fallback's ad within the deadline, and the server stays small."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from tests.acceptance.conftest import Databases
from tests.campaigns import campaign, set_up, upstream
from tests.faults import upstream_server as faults
from tests.faults.upstream_server import Behavior, Request, UpstreamServer, answer, inline
from tests.launched import Launched, free_port
from tests.players import Players, all_lanes_connected, becomes, disagreements, idle_in_transaction, serving

BEHAVIORS: dict[str, Behavior] = {
    "hangs": faults.hang,
    "resets": faults.reset,
    "resets-in-the-body": faults.reset_in_body,
    "drips": faults.drip,
    "gigabyte": faults.gigabyte,
    "gzip-bomb": faults.gzip_bomb(1024),
    "entity-bomb": answer(faults.ENTITIES),
    "html": answer(faults.HTML),
    "empty-vast": answer(faults.EMPTY),
    "nothing": answer(b""),
    "half-a-document": answer(inline()[:-20]),
    "500": answer(inline(), "500 Internal Server Error"),
    "not-http": faults.raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "in-circles": faults.redirect("/in-circles"),
}
PLAYERS = 20
CAPS = [{"impressions": 1, "per": "day"}]
GROWTH_MAX_BYTES = 150 * 2**20
# Patience is short, so that half of all requests also go the way of a late ad.
SETTINGS = {"WORKERS": "1", "GROUP_FETCH_WAIT_MS": "100", "LOG_LEVEL": "error"}
# Far longer than anything takes here, and shorter than what hangs for ever.
SETTINGS |= {"REQUEST_DEADLINE_MS": "20000", "UPSTREAM_DEADLINE_MS": "10000", "IDLE_IN_TRANSACTION_TIMEOUT_MS": "15000"}


@pytest.fixture(scope="module")
async def bad() -> AsyncIterator[UpstreamServer]:
    """Behaves as the path of the request says."""

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        await BEHAVIORS[request.target.removeprefix("/")](request, writer)

    async with UpstreamServer(behave) as server:
        yield server


@pytest.fixture(scope="module")
async def server(of_module: Databases, bad: UpstreamServer) -> AsyncIterator[Launched]:
    async with UpstreamServer(answer(inline("from the fallback"))) as good:
        await set_up(
            of_module.owner,
            upstream("good", good.url, timeout_ms=5000),
            upstream("down", f"http://127.0.0.1:{free_port()}"),
            *(upstream(name, f"{bad.url}/{name}", timeout_ms=1000, breaker_failures=1000) for name in BEHAVIORS),
            *(campaign(name, upstreams=[name, "good"], frequency_caps=CAPS) for name in ("down", *BEHAVIORS)),
        )
        async with serving(of_module.app, **SETTINGS) as launched:
            yield launched


def largest_bytes(worker: psutil.Process) -> int:
    """The most memory that it had since `forget_largest` (proc(5), VmHWM)."""
    lines = Path(f"/proc/{worker.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def forget_largest(worker: psutil.Process) -> None:
    """Begins the measurement anew (proc(5), clear_refs)."""
    Path(f"/proc/{worker.pid}/clear_refs").write_text("5")


@pytest.mark.parametrize("name", ["down", *BEHAVIORS])
async def test_the_fallbacks_ad_arrives_whatever_the_first_upstream_does(
    server: Launched, bad: UpstreamServer, name: str
) -> None:
    (worker,) = server.workers()
    asked_before = len(bad.requests)
    forget_largest(worker)
    before = largest_bytes(worker)
    async with Players(server.url) as players:
        # A first request that is alone, and then a group.
        answers = [await players.ask(campaign_id=name, user_id="alone")]
        answers += await players.ask_all({"campaign_id": name, "user_id": f"u{index}"} for index in range(PLAYERS))
    assert {answered.reason for answered in answers} == {None}
    assert all(b"from the fallback" in answered.body for answered in answers)
    assert largest_bytes(worker) - before < GROWTH_MAX_BYTES
    # Not all of them may arrive: its timeout also ends attempts that a busy machine has not connected yet.
    assert name == "down" or len(bad.requests) > asked_before


async def test_nothing_is_left_of_it(server: Launched, of_module: Databases) -> None:
    await becomes(lambda: all_lanes_connected(of_module.owner, 1))

    async def nobody_is_in_a_transaction() -> bool:
        return await idle_in_transaction(of_module.owner) == 0

    await becomes(nobody_is_in_a_transaction)
    assert await disagreements(of_module.owner) == []
