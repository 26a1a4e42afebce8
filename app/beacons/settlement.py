"""Settlement: the event that was sold turns its hold into spend; an error or the hold's expiry releases it."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from asyncpg import CheckViolationError, Connection, Record

from app.store import holds, third_party
from app.store.connections import Store
from app.store.holds import Beacon

log = structlog.get_logger()

SWEEP_LIMIT = 500
"""Holds that one sweep statement releases, which bounds the time for which it locks rows of budgets."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """The outcome of a group of beacons."""

    counted: int
    """Beacons that were the first with their serve and event."""
    settled: int
    """Impressions, clicks and completed views that were charged, including late ones."""
    released: int
    """Errors that released a hold."""


async def settle(connection: "Connection[Record]", beacons: Sequence[Beacon]) -> Settlement:
    """Count a group of beacons, and charge or release their holds. Idempotent and safe to run concurrently.

    The connection must not be in a transaction: late events are charged in a second transaction, so that locks are
    always taken in the same order. If the server dies between the two, a repeated beacon completes the charge.
    """
    counted = await holds.record_beacons(connection, beacons)
    settled = counted.settled
    if counted.possibly_late:
        settled += await holds.charge_late_events(connection, [beacons[position] for position in counted.possibly_late])
    if counted.repeated:
        # After the commit, so that no budget stays locked for a statistic.
        await third_party.add_repeated_impressions(connection, counted.repeated)
    return Settlement(counted.new_events, settled, counted.released)


async def sweep(store: Store, limit: int = SWEEP_LIMIT) -> int:
    """Release every expired hold, at most `limit` in one transaction. Return the number of released holds.

    Holds of a campaign whose counters are wrong stay; they do not prevent the release of the others.
    """
    try:
        return await _release_expired(store, limit)
    except CheckViolationError:
        async with store.connection() as connection:
            campaign_ids = await holds.find_campaigns_with_expired_holds(connection)
    released = 0
    for campaign_id in campaign_ids:
        try:
            released += await _release_expired(store, limit, campaign_id)
        except CheckViolationError as error:
            log.error("counters_wrong", campaign_id=campaign_id, error=str(error))  # noqa: TRY400 - no traceback needed
    return released


async def _release_expired(store: Store, limit: int, campaign_id: str | None = None) -> int:
    released = 0
    while True:
        async with store.connection() as connection:
            count = await holds.release_expired_holds(connection, limit, campaign_id)
        released += count
        if count < limit:
            return released
