"""A Postgres that vanishes without a word: nobody waits for it longer than for one that answers."""

import asyncio

import pytest

from app.domain import NoFillReason
from app.serving.outcomes import Served
from app.store import connections
from tests.campaigns import own_campaign, set_up
from tests.faults.black_hole import BlackHole
from tests.invariants.world import running
from tests.players import becomes, disagreements

RECOVERED_S = 30


async def test_players_hear_busy_in_time_and_ads_as_soon_as_postgres_is_there_again(
    database: str, app_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "CONNECT_TIMEOUT_S", 2)
    await set_up(database, own_campaign("own"))
    async with (
        BlackHole(app_database) as hole,
        running(hole.url, lock_ms=1000, statement_ms=2000, request_deadline_s=2) as server,
    ):

        async def asked_again() -> bool:
            outcomes = await asyncio.gather(
                *(server.ask(campaign_id="own", request_id=f"r{index}") for index in range(20))
            )
            return all(isinstance(outcome, Served) for outcome in outcomes)

        await becomes(asked_again, RECOVERED_S)
        hole.open()
        reasons = await asyncio.gather(
            *(server.reason(campaign_id="own", request_id=f"s{index}") for index in range(20))
        )
        assert set(reasons) == {NoFillReason.BUSY}
        hole.close()
        await becomes(asked_again, RECOVERED_S)
    assert await disagreements(database) == []
