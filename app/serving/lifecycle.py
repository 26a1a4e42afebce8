"""The lifecycle of an ad request: its states, the triggers that change them, and every transition that is allowed.

    new ─────▶ queued ─────▶ in_group ─────▶ served, declined, failed, abandoned
                 ▲  ▲            │
                 │  └────────────┤ deferred, unresolved, restarted, retried
                 │               ▼
                 └──────── awaiting_fetch

A waiting request can be declined or abandoned at any time: its deadline passes, or its client hangs up. Code
that finds a request in a queue or in a group must therefore skip it if it is done.
"""

from enum import StrEnum
from typing import Protocol


class State(StrEnum):
    """The states in which a request waits for something, and those in which it ends."""

    # Enum.__hash__ is written in Python, and a request's state is looked up a dozen times.
    __hash__ = str.__hash__

    NEW = "new"
    QUEUED = "queued"
    IN_GROUP = "in_group"
    AWAITING_FETCH = "awaiting_fetch"
    SERVED = "served"
    DECLINED = "declined"
    FAILED = "failed"
    ABANDONED = "abandoned"


class Trigger(StrEnum):
    """The events that change a request's state."""

    __hash__ = str.__hash__

    ENQUEUED = "enqueued"
    """It joined the queue of a lane."""
    TAKEN = "taken"
    """A connection took it into its next group."""
    DEFERRED = "deferred"
    """Its group has another request with the same id, user or session, so it waits for the next group."""
    UNRESOLVED = "unresolved"
    """Its group committed without an ad for it; it tries the candidates that remain."""
    RESTARTED = "restarted"
    """Its group ran on a stale catalog or met a budget period without a row; nothing was committed."""
    RETRIED = "retried"
    """Its group's transaction failed."""
    FETCH_PENDING = "fetch_pending"
    """Its group committed while its upstream ad was still on the way."""
    FETCH_ENDED = "fetch_ended"
    """Its upstream ad arrived, or cannot arrive any more."""
    SERVED = "served"
    """Its ads were paid for, now or by an earlier attempt."""
    DECLINED = "declined"
    """No candidate is left, its deadline passed, or the server is too busy."""
    FAILED = "failed"
    """The request itself is invalid, or its answer cannot be rendered."""
    ABANDONED = "abandoned"
    """Its client hung up."""


TRANSITIONS: dict[tuple[State, Trigger], State] = {
    (State.NEW, Trigger.ENQUEUED): State.QUEUED,
    (State.NEW, Trigger.DECLINED): State.DECLINED,
    (State.QUEUED, Trigger.TAKEN): State.IN_GROUP,
    (State.QUEUED, Trigger.DECLINED): State.DECLINED,
    (State.QUEUED, Trigger.ABANDONED): State.ABANDONED,
    (State.IN_GROUP, Trigger.DEFERRED): State.QUEUED,
    (State.IN_GROUP, Trigger.UNRESOLVED): State.QUEUED,
    (State.IN_GROUP, Trigger.RESTARTED): State.QUEUED,
    (State.IN_GROUP, Trigger.RETRIED): State.QUEUED,
    (State.IN_GROUP, Trigger.FETCH_PENDING): State.AWAITING_FETCH,
    (State.IN_GROUP, Trigger.SERVED): State.SERVED,
    (State.IN_GROUP, Trigger.DECLINED): State.DECLINED,
    (State.IN_GROUP, Trigger.FAILED): State.FAILED,
    (State.IN_GROUP, Trigger.ABANDONED): State.ABANDONED,
    (State.AWAITING_FETCH, Trigger.FETCH_ENDED): State.QUEUED,
    (State.AWAITING_FETCH, Trigger.DECLINED): State.DECLINED,
    (State.AWAITING_FETCH, Trigger.ABANDONED): State.ABANDONED,
}
"""The state that follows a state and a trigger. No other pair is allowed."""

FINAL_STATES = frozenset({State.SERVED, State.DECLINED, State.FAILED, State.ABANDONED})
"""A request in one of these is done: its client has an answer or has left."""


class IllegalTransitionError(Exception):
    """A trigger that a request's state does not allow."""


class Stateful(Protocol):
    """An object with a lifecycle."""

    state: State


def advance(subject: Stateful, trigger: Trigger) -> None:
    """Move the subject to its next state; raise IllegalTransitionError if the table has none."""
    try:
        subject.state = TRANSITIONS[subject.state, trigger]
    except KeyError:
        raise IllegalTransitionError(f"a request that is {subject.state} cannot be {trigger}") from None
