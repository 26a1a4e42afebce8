"""How an ad request ends: with ads that were paid for, or with the reason why there is none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from app.domain import Creative, NoFillReason, VastVersion
from app.vast.template import Template


class UpstreamAd(Protocol):
    """The facts of one Ad of an upstream's document."""

    @property
    def position(self) -> int:
        """Its place among the document's Ads."""

    @property
    def sequence(self) -> int | None:
        """Its place in the document's pod; None for a stand-alone Ad."""

    @property
    def is_wrapper(self) -> bool:
        """Whether it leads to an ad elsewhere."""

    @property
    def duration_s(self) -> float | None:
        """How long it plays, in seconds; None where the document does not say."""

    @property
    def advertiser(self) -> str | None:
        """Who advertises in it, where the document says."""

    @property
    def creative_ids(self) -> frozenset[str]:
        """What tells its creatives from others."""


class UpstreamDocument(Protocol):
    """An upstream's document, each of its Ads with our trackers."""

    @property
    def version(self) -> VastVersion:
        """The version that it is in."""

    @property
    def fits_pods(self) -> bool:
        """Whether its Ads can stand beside others."""

    @property
    def ads(self) -> Sequence[UpstreamAd]:
        """Its Ads that have something to show, in document order; there is at least one."""

    def alone(self, position: int) -> Template:
        """The document with that Ad and no other."""

    def in_pod(self, position: int, version: VastVersion) -> Template:
        """That Ad for a pod of that version, which is not earlier than the document's own."""

    def body_with(self, position: int) -> bytes:
        """A body of which that Ad is the only one, from which the same answer can be made again."""


class FetchedAd(Protocol):
    """An upstream's answer, ready to be served."""

    @property
    def upstream_id(self) -> str:
        """Where it came from."""

    @property
    def document(self) -> UpstreamDocument:
        """What players get an Ad of."""


class ServedAd(NamedTuple):
    """One Ad of an answer: an own creative, or the Ad at `position` in an upstream's document."""

    slot: int
    campaign_id: str
    creative: Creative | None
    fetched: FetchedAd | None
    position: int = 0


@dataclass(slots=True)
class Served:
    """The request was paid for; `repeat` when that happened the first time it was asked."""

    request_key: UUID
    served_at: datetime
    ads: tuple[ServedAd, ...]
    repeat: bool = False
    vast: bytes = b""
    """The document for the player."""
    fault: Exception | None = None
    """Why there is no document, if it could not be rendered."""


class NoFill(NamedTuple):
    """Nothing was served and nothing was spent; `reason` is that of the candidate with the highest priority."""

    reason: NoFillReason


Outcome = Served | NoFill

Completion = Callable[[Outcome | Exception], None]
"""Takes a request's outcome, or the error that it ended with."""
