"""Settlement: impressions turn holds into spend, errors and time release them."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from asyncpg import CheckViolationError, Connection, Record

from app.store import holds
from app.store.connections import Store
from app.store.holds import Beacon

log = structlog.get_logger()

SWEEP_LIMIT = 500
"""Holds that one statement of the sweeper releases: their budgets' rows stay locked for that long."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a group of beacons."""

    first: int
    """The first of their serve and event: these count."""
    settled: int
    """Impressions that were charged now, late ones included."""
    released: int
    """Errors that released a hold."""


async def settle(connection: "Connection[Record]", beacons: Sequence[Beacon]) -> Settlement:
    """Counts a group of beacons and moves the money; safe to repeat, with the same or other groups at once.

    The connection must not be in a transaction: late impressions are charged in one of their own, after the group's,
    so that locks keep their order. Should the server die between the two, the beacon may simply come again.
    """
    counted = await holds.record_beacons(connection, beacons)
    settled = counted.settled
    if counted.possibly_late:
        settled += await holds.charge_late_impressions(
            connection, [beacons[position] for position in counted.possibly_late]
        )
    return Settlement(counted.new_events, settled, counted.released)


async def sweep(store: Store, limit: int = SWEEP_LIMIT) -> int:
    """Releases every expired hold, some at a time, each in its own transaction; returns how many.

    Those of a campaign whose counters are wrong stay, and nobody else's wait for them.
    """
    try:
        return await _release(store, limit)
    except CheckViolationError:
        async with store.connection() as connection:
            campaign_ids = await holds.find_campaigns_with_expired_holds(connection)
    released = 0
    for campaign_id in campaign_ids:
        try:
            released += await _release(store, limit, campaign_id)
        except CheckViolationError as error:
            log.error("counters_wrong", campaign_id=campaign_id, reason=str(error))  # noqa: TRY400 - it says it all
    return released


async def _release(store: Store, limit: int, campaign_id: str | None = None) -> int:
    released = 0
    while True:
        async with store.connection() as connection:
            count = await holds.release_expired_holds(connection, limit, campaign_id)
        released += count
        if count < limit:
            return released
