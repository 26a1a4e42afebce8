"""A pending request: an ad request on its way through the lanes, and the progress that it has made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from app.domain import AdRequest, NoFillReason
from app.serving.context import SessionContext
from app.serving.lifecycle import FINAL_STATES, State, Trigger, advance
from app.serving.outcomes import Completion, NoFill, Served, ServedAd
from app.targeting.viewer import UNKNOWN_VIEWER, Viewer
from app.upstreams.fetched_ad import FetchedAd


@dataclass(slots=True, eq=False)
class Progress:
    """Everything about a request that changes. Only the methods of PendingRequest change it."""

    candidates: tuple[str, ...]
    """Campaign ids in priority order."""
    revision: int
    """The catalog revision that `candidates` and `refusals` are based on."""
    user_key: UUID | None
    correlator: str
    may_have_been_served: bool
    """Whether to look for an earlier serve: the client named the request, or the result of a COMMIT was lost."""
    state: State = State.NEW
    refusals: dict[str, NoFillReason] = field(default_factory=dict)
    """Reasons of the candidates that cannot serve, by campaign id, and of single creatives, by their counters."""
    refusals_before_attempt: dict[str, NoFillReason] = field(default_factory=dict)
    revision_confirmed: bool = False
    """Whether a statement has run on this catalog revision. Until then a refusal may be stale and is not final."""
    last_campaigns: tuple[str, ...] = ()
    """The campaigns with categories that the last answer of the viewing session had ads of."""
    ready_ads: dict[str, FetchedAd] = field(default_factory=dict)
    """Upstream ads that have arrived, by campaign id."""
    paid_ads: tuple[ServedAd, ...] = ()
    """The ads of the last attempt that was paid for, whether or not it was committed."""
    lane_candidates: tuple[str, ...] = ()
    """The candidates that the present lane may try."""
    repeats_allowed: bool = False
    """Whether to serve a creative that the viewing session has seen, if there is no other."""
    queued_at: float = 0.0
    """When the request last joined a queue, in seconds of the event loop's clock."""
    attempts: int = 0
    """Attempts whose group failed."""
    isolate: bool = False
    """Whether to serve it in a group of its own, because its last group failed."""


@dataclass(slots=True, eq=False)
class PendingRequest:
    """One ad request. Its fields are fixed, which the type checker enforces: creating a frozen dataclass is slower."""

    request: Final[AdRequest]
    context: Final[SessionContext]
    request_key: Final[UUID]
    fingerprint: Final[int]
    """Tells a retry from another request with the same id."""
    deadline: Final[float]
    """When the answer is due, in seconds of the event loop's clock."""
    on_done: Final[Completion]
    """Called once, when the request is served, declined or failed. It must not raise."""
    trace: Final[object]
    """The request's trace, if tracing is on."""
    progress: Final[Progress]
    viewer: Final[Viewer] = UNKNOWN_VIEWER

    @property
    def is_done(self) -> bool:
        """Whether the request has an answer, or its client has left."""
        return self.progress.state in FINAL_STATES

    @property
    def is_in_group(self) -> bool:
        """Whether the request belongs to a running group, and that group has not queued or ended it yet."""
        return self.progress.state is State.IN_GROUP

    @property
    def remaining(self) -> tuple[str, ...]:
        """The candidates that were not refused yet."""
        progress = self.progress
        if not progress.refusals:
            return progress.candidates
        return tuple(campaign_id for campaign_id in progress.candidates if campaign_id not in progress.refusals)

    @property
    def is_alone(self) -> bool:
        """Whether its group must have no other request: its last group failed, or it may have to be rolled back."""
        return self.progress.isolate or self.request.min_ads > 1

    def enter_queue(self, trigger: Trigger, now: float) -> None:
        """Record that the request joined a queue."""
        advance(self.progress, trigger)
        self.progress.queued_at = now

    def plan_attempt(self, candidates: tuple[str, ...], *, repeats_allowed: bool) -> None:
        """Set the candidates that the next attempt may try."""
        self.progress.lane_candidates = candidates
        self.progress.repeats_allowed = repeats_allowed

    def begin_attempt(self) -> None:
        """Record that a connection took the request into its group."""
        advance(self.progress, Trigger.TAKEN)
        self.progress.refusals_before_attempt = self.progress.refusals.copy()

    def roll_back_attempt(self) -> None:
        """Forget the refusals of an attempt that was not committed."""
        self.progress.refusals = self.progress.refusals_before_attempt

    def record_failure(self, *, may_have_been_served: bool, isolate: bool) -> None:
        """Count an attempt whose group failed; `isolate` says how to make the next one."""
        progress = self.progress
        progress.attempts += 1
        progress.may_have_been_served = progress.may_have_been_served or may_have_been_served
        progress.isolate = isolate

    def rebase_on(self, revision: int, candidates: tuple[str, ...]) -> None:
        """Forget every decision that rests on another catalog revision."""
        progress = self.progress
        progress.revision = revision
        progress.candidates = candidates
        progress.refusals = {}
        progress.revision_confirmed = False

    def add_candidates(self, candidates: tuple[str, ...]) -> None:
        """Add those that are not there yet behind the others."""
        self.progress.candidates = tuple(dict.fromkeys((*self.progress.candidates, *candidates)))

    def confirm_revision(self) -> None:
        """Record that a statement ran on the request's catalog revision."""
        self.progress.revision_confirmed = True

    def refuse(self, campaign_id: str, reason: NoFillReason) -> None:
        """Take a campaign out of the candidates that remain."""
        self.progress.refusals[campaign_id] = reason

    def adopt_refusals(self, refusals: Mapping[str, NoFillReason]) -> None:
        """Keep the refusals of an attempt that was rolled back on purpose; a statement had confirmed its revision."""
        self.progress.refusals.update(refusals)
        self.confirm_revision()

    def try_other_candidates_first(self) -> None:
        """Move the candidates of the present lane behind the others, if it refused none and there are others.

        Such an attempt found that the viewing session has seen all creatives of these candidates.
        """
        progress = self.progress
        tried = progress.lane_candidates
        if tried != self.remaining and progress.refusals == progress.refusals_before_attempt:
            others = (campaign_id for campaign_id in progress.candidates if campaign_id not in tried)
            progress.candidates = (*others, *tried)

    def join_session(self, user_key: UUID | None, correlator: str, last_campaigns: tuple[str, ...]) -> None:
        """Adopt what the viewing session says, and its user unless the request names one itself."""
        if self.request.identifiable:
            self.progress.user_key = self.progress.user_key or user_key
        self.progress.correlator = correlator
        self.progress.last_campaigns = last_campaigns

    def keep_ready_ad(self, campaign_id: str, fetched: FetchedAd) -> None:
        """Keep a campaign's upstream ad for this attempt and the next."""
        self.progress.ready_ads[campaign_id] = fetched

    def keep_paid_ads(self, ads: tuple[ServedAd, ...]) -> None:
        """Keep the ads that were paid for, in case the result of their COMMIT is lost."""
        self.progress.paid_ads = ads

    def await_fetch(self) -> None:
        """Record that the group committed before the request's upstream ad arrived."""
        if not self.is_done:
            advance(self.progress, Trigger.FETCH_PENDING)

    def serve(self, served: Served) -> None:
        """End the request with its ads, unless it is done."""
        if not self.is_done:
            advance(self.progress, Trigger.SERVED)
            self.on_done(served)

    def decline(self, reason: NoFillReason) -> None:
        """End the request without an ad, unless it is done."""
        if not self.is_done:
            advance(self.progress, Trigger.DECLINED)
            self.on_done(NoFill(reason))

    def decline_for_lack_of_candidates(self) -> None:
        """End the request with the reason of the candidate with the highest priority."""
        refusals = self.progress.refusals
        reasons = (refusals[campaign_id] for campaign_id in self.progress.candidates if campaign_id in refusals)
        self.decline(next(reasons, NoFillReason.NO_CANDIDATE))

    def fail(self, error: Exception) -> None:
        """End the request with an error, unless it is done."""
        if not self.is_done:
            advance(self.progress, Trigger.FAILED)
            self.on_done(error)

    def abandon(self) -> None:
        """End the request because its client has left, unless it is done; ads not paid for yet are not paid for."""
        if not self.is_done:
            advance(self.progress, Trigger.ABANDONED)
