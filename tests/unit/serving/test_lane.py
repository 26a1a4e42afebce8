import asyncio
from uuid import uuid4

from app.domain import AdRequest, NoFillReason
from app.serving.context import open_context
from app.serving.lane import Lane
from app.serving.outcomes import NoFill, Outcome
from app.serving.pending import PendingRequest
from app.store.connections import Store, Timeouts

NOWHERE = "postgresql://127.0.0.1:1/nowhere"
FAR_LONGER_S = 5


def pending(deadline: float) -> tuple[PendingRequest, asyncio.Future[Outcome | Exception]]:
    """A request, and what its player hears."""
    heard: asyncio.Future[Outcome | Exception] = asyncio.get_running_loop().create_future()
    made = PendingRequest(
        request=AdRequest(campaign_id="own"),
        context=open_context("r1", {}),
        request_key=uuid4(),
        user_key=None,
        fingerprint=0,
        correlator="",
        candidates=("own",),
        revision=0,
        deadline=deadline,
        on_done=heard.set_result,
        may_have_been_served=False,
    )
    return made, heard


async def nobody_serves(*_: object) -> None:
    raise AssertionError("a lane without connections serves nobody")


async def test_a_deadline_passes_behind_a_request_that_was_put_back_and_has_longer() -> None:
    timeouts = Timeouts(lock_ms=1000, statement_ms=1000, idle_in_transaction_ms=1000)
    store = Store(NOWHERE, serving_connections=1, general_connections=1, timeouts=timeouts)
    bounds = {"connections": 0, "queue_max": 10, "group_max": 10, "held_up_s": 1, "linger_max_s": 0}
    lane = Lane("serve", store, nobody_serves, **bounds)  # type: ignore[arg-type]
    now = asyncio.get_running_loop().time()
    older, older_hears = pending(now)
    younger, younger_hears = pending(now + 3600)
    lane.put(older)
    lane.put_back([younger])
    lane.start()
    async with asyncio.timeout(FAR_LONGER_S):
        assert await older_hears == NoFill(NoFillReason.BUSY)
    assert not younger_hears.done()
    await lane.stop()
    await store.close()
