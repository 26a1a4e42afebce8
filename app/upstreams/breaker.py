"""A circuit breaker for each upstream: closed → open → half_open → closed or open.

The purgatory library keeps the count and the state. This module adds four rules: a half-open breaker allows one trial
at a time; an attempt that was canceled, not sent, or cut short by this server's own deadline is neither a failure nor a
success; an attempt that began before a change of state does not change the state again; and the time that a breaker
stays open is measured with the monotonic clock.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import structlog
from purgatory.domain.messages.events import ContextChanged
from purgatory.domain.model import CLOSED, HALF_OPENED, OPENED, Context, HalfOpenedState

from app.domain import Upstream
from app.errors import UpstreamFailed
from app.upstreams.failures import NOT_UPSTREAM_FAULT, FailureKind

log = structlog.get_logger()

STATE_NAMES = {CLOSED: "closed", OPENED: "open", HALF_OPENED: "half_open"}
"""The names of the library's states in metrics, logs and the API."""

OnChange = Callable[[str, str, str], None]
"""Called once for each change with the upstream's id, the old state and the new state."""


class Breakers:
    """The breakers of all upstreams in this process."""

    def __init__(self, on_change: OnChange) -> None:
        self._on_change = on_change
        self._breakers: dict[str, _Breaker] = {}

    @contextmanager
    def attempt(self, upstream: Upstream) -> Iterator[None]:
        """Run an attempt and record its outcome; raise UpstreamFailed if the breaker is open.

        A response without an ad is a success: the upstream works.
        """
        breaker = self._breakers.get(upstream.id)
        if breaker is None:
            breaker = self._breakers[upstream.id] = _Breaker(upstream, self._on_change)
        breaker.configure(upstream)
        with breaker.attempt():
            yield

    @property
    def states(self) -> Mapping[str, str]:
        """`closed`, `open` or `half_open`, for each upstream with an attempt so far."""
        return {upstream_id: breaker.state_name for upstream_id, breaker in self._breakers.items()}

    def would_reject(self, upstream_id: str) -> bool:
        """Whether an attempt would be rejected now."""
        breaker = self._breakers.get(upstream_id)
        return breaker is not None and breaker.would_reject


class _Breaker:
    def __init__(self, upstream: Upstream, on_change: OnChange) -> None:
        self._upstream_id = upstream.id
        self._on_change = on_change
        self._context = Context(upstream.id, upstream.breaker_failures, upstream.breaker_reset_s)
        self._opened_at = 0.0
        self._changes = 0
        self._trial_running = False

    @property
    def state(self) -> str:
        return self._context.state

    @property
    def state_name(self) -> str:
        return STATE_NAMES[self._context.state]

    def configure(self, upstream: Upstream) -> None:
        self._context.threshold = upstream.breaker_failures
        self._context.ttl = upstream.breaker_reset_s

    @property
    def would_reject(self) -> bool:
        if self.state == HALF_OPENED:
            return self._trial_running
        return self.state == OPENED and time.monotonic() <= self._opened_at + self._context.ttl

    @contextmanager
    def attempt(self) -> Iterator[None]:
        self._enter()
        changes = self._changes
        trial = self._trial_running = self.state == HALF_OPENED
        try:
            yield
        except UpstreamFailed as failure:
            if failure.kind not in NOT_UPSTREAM_FAULT and changes == self._changes:
                self._end(failure)
            raise
        else:
            if changes == self._changes:
                self._end(None)
        finally:
            if trial:
                self._trial_running = False

    def _enter(self) -> None:
        # purgatory would raise its state object, one exception for all attempts, which then keeps every traceback.
        if self.would_reject:
            raise UpstreamFailed(self._upstream_id, FailureKind.BREAKER_OPEN)
        if self.state == OPENED:
            with self._reported_changes():
                self._context.set_state(HalfOpenedState())

    def _end(self, failure: UpstreamFailed | None) -> None:
        with self._reported_changes():
            if failure is None or failure.kind == FailureKind.NO_AD:
                self._context.handle_end_request()
            else:
                self._context.handle_exception(failure)

    @contextmanager
    def _reported_changes(self) -> Iterator[None]:
        old = self.state_name
        yield
        for message in self._context.messages:
            if isinstance(message, ContextChanged):
                self._changes += 1
                if message.state == OPENED:
                    self._opened_at = time.monotonic()
                new = STATE_NAMES[message.state]
                log.warning("breaker_changed", upstream_id=self._upstream_id, old=old, new=new)
                self._on_change(self._upstream_id, old, new)
                old = new
        self._context.messages.clear()
