"""The events that packages report to be counted and logged: one protocol for the whole server."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from app.domain import Client

FinishedRequest = tuple[datetime, str, int, str, float, Mapping[str, str], Client]
"""When an ad request was answered, its id, HTTP status and outcome, how long it took in seconds, its parameters and its
client.

It is a plain tuple because the server makes one for each request.
"""


class Observer:
    """Ignores every event; an observer overrides the methods of the events that it handles.

    Methods must return quickly and never raise: they run on the path of a request.
    """

    def request_finished(
        self, request_id: str, status: int, outcome: str, seconds: float, values: Mapping[str, str], client: Client
    ) -> None:
        """Handle an answered ad request; `outcome` is `served`, `repeat`, a no-fill reason or `error`."""

    def requests_finished(self, requests: Sequence[FinishedRequest]) -> None:
        """Handle the ad requests that were answered since the last call, a moment after the fact."""

    def group_started(self, lane: str, waits_s: Sequence[float]) -> None:
        """Handle the start of a group's transaction; `waits_s` is how long each of its requests was queued."""

    def group_finished(self, lane: str, size: int, seconds: float) -> None:
        """Handle the end of a group's transaction."""

    def upstream_attempt_finished(self, upstream_id: str, outcome: str, seconds: float) -> None:
        """Handle the end of an attempt: `ad`, `canceled` by a hedge or the player's hang-up, or a FailureKind."""

    def upstream_cache_checked(self, upstream_id: str, outcome: str) -> None:
        """Handle a cache lookup: `hit`, `stale` or `miss`."""

    def breaker_changed(self, upstream_id: str, old: str, new: str) -> None:
        """Handle a breaker's change of state; states are `closed`, `open` and `half_open`."""

    def quota_checked(self, name: str, outcome: str) -> None:
        """Handle a rate limit's decision: `passed` or `refused`."""

    def client_limited(self, kind: str) -> None:
        """Handle a request of this kind that was above the limit of its client's address."""

    def parameters_ignored(self, names: Sequence[str]) -> None:
        """Handle parameters of an ad request whose values were placeholders, such as an unexpanded macro."""

    def invalid_request_refused(self, reason: str) -> None:
        """Handle an ad request that was refused as invalid traffic."""

    def token_refused(self) -> None:
        """Handle a request with a wrong bearer token."""

    def beacons_handled(self, outcome: str, count: int) -> None:
        """Handle beacons that were `counted`, a `repeat`, `refused` for their token, `limited` or `dropped`."""

    def holds_settled(self, charged: int, released: int) -> None:
        """Handle the holds that a group of beacons charged and released."""

    def webhook_attempted(self, webhook_id: str, outcome: str) -> None:
        """Handle an attempt to deliver an event: `accepted`, or the kind of its failure."""


EVENTS = tuple(name for name in vars(Observer) if not name.startswith("_"))
"""Names of the methods of Observer."""


def fan_out(*observers: Observer) -> Observer:
    """Return an observer that passes each event to those of `observers` that handle it, in their order.

    An event that one observer handles goes straight to its method, so that fanning out costs the caller nothing.
    """
    combined = Observer()
    for event in EVENTS:
        ignore = getattr(Observer, event)
        handlers = [getattr(observer, event) for observer in observers if _handler(observer, event) is not ignore]
        if handlers:
            setattr(combined, event, handlers[0] if len(handlers) == 1 else _call_all(handlers))
    return combined


def _handler(observer: Observer, event: str) -> object:
    method = getattr(observer, event)
    return getattr(method, "__func__", method)


def _call_all(handlers: Sequence[Callable[..., None]]) -> Callable[..., None]:
    def call_all(*arguments: Any) -> None:
        for handler in handlers:
            handler(*arguments)

    return call_all
