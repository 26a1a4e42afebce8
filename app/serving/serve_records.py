"""Records beside the serves: what repeated requests need, and what viewing sessions have played."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from asyncpg import Connection, Record

from app.serving.choice import Selection
from app.store import serves, sessions
from app.store.sessions import SessionAd

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
    await _record_answers(connection, paid)


async def _keep_documents(connection: "Connection[Record]", paid: Sequence[Selection]) -> None:
    """Keep the upstream documents of requests that may be repeated."""
    documents = [
        (selection.choice.pending.request_key, selection.slot, fetched.document.single_ad_body(selection.position))
        for selection in paid
        if selection.choice.pending.progress.may_have_been_served and (fetched := selection.choice.fetched) is not None
    ]
    if documents:
        await serves.store_documents(connection, documents)


async def _record_answers(connection: "Connection[Record]", paid: Sequence[Selection]) -> None:
    """Record in their viewing sessions what was played, and whose competitors must not follow."""
    ads = [ad for ad in map(_session_ad, paid) if ad is not None]
    if ads:
        await sessions.record_answers(connection, ads)


def _session_ad(selection: Selection) -> SessionAd | None:
    """Return what the viewing session must know about an ad; None if that is nothing."""
    pending, campaign = selection.choice.pending, selection.choice.campaign
    creative_id = None if selection.creative is None else selection.creative.id
    campaign_id = campaign.id if campaign.categories else None
    session_id = pending.request.session_id
    if session_id is None or not (creative_id or campaign_id or pending.progress.last_campaigns):
        return None
    return SessionAd(session_id, creative_id, campaign_id)


def _is_near_midnight(now: datetime) -> bool:
    return (now + MIDNIGHT_MARGIN).date() != (now - MIDNIGHT_MARGIN).date()
