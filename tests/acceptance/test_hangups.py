"""Players that hang up at any moment leave nothing behind."""

import asyncio
import random

import psutil

from app.embedded import EmbeddedPostgres
from tests.campaigns import campaign, own_campaign, placement, set_up, upstream
from tests.faults.upstream_server import Request, UpstreamServer, answer, inline
from tests.launched import Launched
from tests.players import (
    Players,
    all_lanes_connected,
    becomes,
    connected,
    disagreements,
    idle_in_transaction,
    serving,
)

WORKERS = 2
HANG_UPS = 1000
LONGEST_S = 0.15
SETTINGS = {"WORKERS": str(WORKERS), "REQUEST_DEADLINE_MS": "20000", "LOG_LEVEL": "warning"}
CAPS = [{"impressions": 900, "per": "day"}]
BUDGET = {"cpm": "1000", "budgets": {"lifetime": "100000"}}


async def hang_up(port: int, query: str, after_s: float | None) -> None:
    """Ask, and break the connection after a while, answered or not; with None, when the answer begins."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET /vast?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        async with asyncio.timeout(after_s):
            await reader.read(1 if after_s is None else -1)
    except TimeoutError:
        pass
    finally:
        writer.transport.abort()


async def dawdle(_request: Request, writer: asyncio.StreamWriter) -> None:
    """Answer after some time, as long as players stay who do not wait for an answer."""
    await asyncio.sleep(random.uniform(0, LONGEST_S))
    await answer(inline())(_request, writer)


def players_connected(server: Launched) -> int:
    """Connections to the server's port that its workers have open."""
    return sum(
        connection.laddr.port == server.port and connection.status == psutil.CONN_ESTABLISHED
        for worker in server.workers()
        for connection in worker.net_connections()
    )


async def test_a_thousand_players_hang_up_and_nothing_is_left_open_or_half_done(
    postgres: EmbeddedPostgres, database: str, app_database: str
) -> None:
    async with UpstreamServer(dawdle) as network:
        await set_up(
            database,
            upstream("network", network.url, max_in_flight=1000),
            own_campaign("own", frequency_caps=CAPS, **BUDGET),
            campaign("network", advertiser="Other", frequency_caps=CAPS, upstreams=["network"], **BUDGET),
            placement("both", "network", "own"),
        )
        async with serving(app_database, **SETTINGS) as server:
            async with Players(server.url) as players:
                await players.ask_all([{"placement_id": "both", "user_id": f"early{index}"} for index in range(50)])
            await becomes(lambda: all_lanes_connected(database, WORKERS))
            choose = random.Random(1)
            for _ in range(10):
                queries = [f"placement_id=both&user_id=u{choose.randrange(50)}" for _ in range(HANG_UPS // 10)]
                # Every fifth player stays until the answer begins, so that there are ads however slow the machine is.
                stays_s = [choose.uniform(0, LONGEST_S) if index % 5 else None for index in range(len(queries))]
                await asyncio.gather(*(hang_up(server.port, *stay) for stay in zip(queries, stays_s, strict=True)))

            async def nobody_is_left() -> bool:
                return players_connected(server) == 0 and await idle_in_transaction(database) == 0

            await becomes(nobody_is_left)
            await becomes(lambda: all_lanes_connected(database, WORKERS))
            assert "Traceback" not in (told := "".join(server.output)), told
            async with Players(server.url) as players:
                assert (await players.ask(campaign_id="own", user_id="late")).filled
    async with connected(database) as connection:
        assert await connection.fetchval("SELECT count(*) FROM ad_serves") > 100
    assert await disagreements(database) == []
