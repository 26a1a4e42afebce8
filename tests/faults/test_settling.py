"""Beacons over HTTP, many times each, while workers and Postgres are killed: the books are exact to the last unit."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal

import aiohttp
import psutil
import pytest

from app.beacons.settlement import sweep
from app.domain import Event
from app.embedded import EmbeddedPostgres
from app.serving.tokens import TokenSigner
from app.store.roles import APP
from tests.integration.accounting.world import PRICE, campaign, open_store, serve_many, set_clock, set_up
from tests.launched import Launched
from tests.players import SECRETS, becomes, connected, disagreements, serving

SERVES = 100_000
WORKERS = 4
SENDERS = 128
BEACONS_BETWEEN_CRASHES = 20_000
SERVED = "SELECT request_key, slot, served_at, campaign_id FROM ad_serves"
SPENT = "SELECT spent, held, impressions FROM budget_tracking WHERE period = $1"


class Crowd:
    """Players that send beacons until each has an answer."""

    def __init__(self, url: str, paths: Sequence[str]) -> None:
        self._url = url
        self.waiting = list(paths)
        random.shuffle(self.waiting)

    async def send_all(self) -> None:
        async with aiohttp.ClientSession(self._url, timeout=aiohttp.ClientTimeout(total=10)) as session:
            await asyncio.gather(*(self._send(session) for _ in range(SENDERS)))

    async def _send(self, session: aiohttp.ClientSession) -> None:
        while self.waiting:
            path = self.waiting.pop()
            try:
                async with session.get(path) as response:
                    assert response.status == 200
            except (aiohttp.ClientError, TimeoutError):
                self.waiting.append(path)
                await asyncio.sleep(0.05)


async def crash_now_and_then(crowd: Crowd, server: Launched, postgres: EmbeddedPostgres) -> int:
    """Kills a worker after every so many beacons, and Postgres once; returns how many crashes there were."""
    crashes = 0
    while len(crowd.waiting) > BEACONS_BETWEEN_CRASHES:
        goal = len(crowd.waiting) - BEACONS_BETWEEN_CRASHES

        async def sent(goal: int = goal) -> bool:
            return len(crowd.waiting) <= goal

        await becomes(sent, 120)
        if crashes == 2:
            postgres.kill()
            await asyncio.to_thread(postgres.wait_until_ready)
        else:
            with suppress(psutil.NoSuchProcess, IndexError):
                random.choice(server.workers()).kill()
        crashes += 1
    return crashes


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_books_are_exact_after_100000_holds_repeated_beacons_and_kills(own_postgres: EmbeddedPostgres) -> None:
    database, app_database = own_postgres.dsn, own_postgres.url(role=APP)
    store = open_store(app_database)
    limit = str(SERVES * PRICE)
    await set_up(store, campaign("held", budgets={"lifetime": limit, "day": limit}))
    await serve_many(store, "held", SERVES)
    async with connected(database) as connection:
        served = await connection.fetch(SERVED)
    signer = TokenSigner([SECRETS["SECRET_KEY"]], 21_600)
    random.shuffle(served)
    seen, failed = served[: SERVES // 2], served[SERVES // 2 : SERVES // 2 + SERVES // 10]
    once = [f"/event/{event}?t={signer.sign_all(*one)[event]}" for part, event in
            ((seen, Event.IMPRESSION), (failed, Event.ERROR)) for one in part]  # fmt: skip
    async with serving(app_database, WORKERS=str(WORKERS), LOG_LEVEL="error") as server:
        crowd = Crowd(server.url, [path for path in once for _ in range(random.randint(1, 5))])
        sending = asyncio.create_task(crowd.send_all())
        assert await crash_now_and_then(crowd, server, own_postgres) > 3
        await sending
        # A beacon whose sender lost patience may have died with its worker; players that care send it again.
        await Crowd(server.url, once).send_all()
        await set_clock(database, "transaction_timestamp() + interval '2 hours'")
        await asyncio.gather(*(sweep(store) for _ in range(WORKERS)))
    await store.close()
    async with connected(database) as connection:
        for period in ("lifetime", "day"):
            spent = await connection.fetchrow(SPENT, period)
            assert tuple(spent or ()) == (len(seen) * PRICE, Decimal(0), len(seen))
        events = dict(await connection.fetch("SELECT event, count(*) FROM ad_events GROUP BY event"))
        released = dict(await connection.fetch("SELECT cause, count(*) FROM hold_releases GROUP BY cause"))
    assert events == {"impression": len(seen), "error": len(failed)}
    assert released == {"error": len(failed), "expiry": SERVES - len(seen) - len(failed)}
    assert await disagreements(database) == []
