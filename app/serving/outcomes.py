"""The outcomes of an ad request: ads that were paid for, or the reason for serving no ad."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from app.domain import Creative, NoFillReason
from app.upstreams.fetched_ad import FetchedAd


class ServedAd(NamedTuple):
    """One Ad of an answer: an own creative, or the Ad at `position` in an upstream's document.

    An ad of an earlier attempt that is not known any more has neither `creative` nor `fetched`.
    """

    slot: int
    campaign_id: str
    creative: Creative | None
    fetched: FetchedAd | None
    position: int = 0


@dataclass(slots=True)
class Served:
    """Ads that were paid for; with `repeat`, by an earlier attempt of the same request."""

    request_key: UUID
    served_at: datetime
    ads: tuple[ServedAd, ...]
    repeat: bool = False
    vast: bytes = b""
    """The document for the player."""
    render_error: Exception | None = None
    """The error that prevented rendering, if any."""


class NoFill(NamedTuple):
    """No ad was served and nothing was spent; `reason` is that of the candidate with the highest priority."""

    reason: NoFillReason


Outcome = Served | NoFill

Completion = Callable[[Outcome | Exception], None]
"""Receives a request's outcome, or the error that it ended with."""


async def wait_for_outcome(submit: Callable[[Completion], None]) -> Outcome:
    """Call `submit` with a completion, and return the outcome that the completion receives, or raise its error."""
    outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def on_done(result: Outcome | Exception) -> None:
        if outcome.done():
            return
        if isinstance(result, Exception):
            outcome.set_exception(result)
        else:
            outcome.set_result(result)

    submit(on_done)
    return await outcome
