"""Records beside the serves: what repeated requests need, and the creatives that viewing sessions have played."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from asyncpg import Connection, Record

from app.serving.choice import Selection
from app.store import serves, sessions

MIDNIGHT_MARGIN = timedelta(minutes=1)
"""Longer than any serving transaction may last, which the statement and idle timeouts limit."""


async def write_serve_records(connection: "Connection[Record]", paid: Sequence[Selection], now: datetime) -> None:
    """Write the records of ads that were just paid for; `now` is the database's clock.

    Raise asyncpg.UniqueViolationError if one of the requests was served on the other side of midnight.
    """
    await _keep_documents(connection, paid)
    # Unnamed requests are claimed too: the server itself repeats them when it loses the result of a COMMIT.
    if _is_near_midnight(now):
        request_keys = {selection.choice.pending.request_key for selection in paid}
        await serves.claim_midnight_requests(connection, list(request_keys))
    await _mark_played(connection, paid)


async def _keep_documents(connection: "Connection[Record]", paid: Sequence[Selection]) -> None:
    """Keep the upstream documents of requests that may be repeated."""
    documents = [
        (selection.choice.pending.request_key, selection.slot, fetched.document.single_ad_body(selection.position))
        for selection in paid
        if selection.choice.pending.progress.may_have_been_served and (fetched := selection.choice.fetched) is not None
    ]
    if documents:
        await serves.store_documents(connection, documents)


async def _mark_played(connection: "Connection[Record]", paid: Sequence[Selection]) -> None:
    """Add the creatives to those that their viewing sessions have played."""
    played = [
        (selection.choice.pending.request.session_id, selection.creative.id)
        for selection in paid
        if selection.choice.pending.request.session_id is not None and selection.creative is not None
    ]
    if played:
        await sessions.mark_played(connection, played)


def _is_near_midnight(now: datetime) -> bool:
    return (now + MIDNIGHT_MARGIN).date() != (now - MIDNIGHT_MARGIN).date()
