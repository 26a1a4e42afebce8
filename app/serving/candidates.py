"""Candidates: the campaigns that may serve a request, decided before the request waits for its transaction."""

from typing import Protocol
from uuid import UUID

from app.domain import TARGETED, AdRequest, CatalogSource, Client, InvalidTraffic, NoFillReason, Placement, Publisher
from app.errors import InvalidRequest
from app.serving import keys
from app.serving.context import SessionContext
from app.serving.database_clock import DatabaseClock
from app.serving.limits import CANDIDATES_MAX, FIRST_CANDIDATES_MAX
from app.serving.outcomes import Completion
from app.serving.pace import Pace
from app.serving.pending import PendingRequest, Progress
from app.serving.spans import NO_TRACER, RequestTracer
from app.serving.targeted_candidates import TargetedCandidates
from app.store.goals import GoalPace
from app.targeting.matcher import TargetingMatcher
from app.targeting.viewer import ViewerReader
from app.traffic.verdict import InvalidReason, find_invalidity


class PublisherLimits(Protocol):
    """The rate limits of publishers, shared by all servers."""

    def allow(self, name: str, rate_per_s: int, burst: int | None = None) -> bool:
        """Return whether one more request of `name` is within its limit."""


class CandidateResolver:
    """Finds a request's candidates in the current catalog, and makes its pending request."""

    def __init__(
        self,
        catalogs: CatalogSource,
        publisher_limits: PublisherLimits,
        hash_key: bytes,
        viewers: ViewerReader,
        tracer: RequestTracer = NO_TRACER,
    ) -> None:
        self.clock = DatabaseClock()
        self._catalogs = catalogs
        self._publisher_limits = publisher_limits
        self._hash_key = hash_key
        self._viewers = viewers
        self._tracer = tracer
        self._pace = Pace({})
        self._matcher = TargetingMatcher(catalogs.current)
        self._targeted: TargetedCandidates | None = None

    def knows(self, request: AdRequest) -> bool:
        """Return whether the campaign or placement exists.

        A campaign that is not direct counts as unknown, so that clients cannot find out which ids exist.
        """
        catalog = self._catalogs.current
        if request.campaign_id is not None:
            campaign = catalog.campaigns.get(request.campaign_id)
            return campaign is not None and campaign.direct is True
        return request.placement_id in catalog.placements

    async def reload_until_known(self, request: AdRequest) -> None:
        """Reload the catalog for an id that was unknown; raise InvalidRequest if it is still unknown."""
        await self._catalogs.reload(self._catalogs.current)
        if not self.knows(request):
            raise unknown_id(request)

    def observe_pace(self, found: GoalPace) -> None:
        """Take note of the pace of goals that a statement has returned just now."""
        self.clock.observe(found.database_time)
        self._pace = Pace(found.behind)

    def find_invalidity(self, request: AdRequest, client: Client) -> InvalidReason | None:
        """Return why a request is invalid, if the placement's publisher refuses such requests."""
        publisher = self._publisher(request)
        if publisher is None or publisher.invalid_traffic is InvalidTraffic.SERVE:
            return None
        return find_invalidity(request.values, client)

    def is_within_limit(self, request: AdRequest) -> bool:
        """Count the request, and return whether the placement's publisher is within its rate limit."""
        publisher = self._publisher(request)
        if publisher is None or publisher.requests_per_s is None:
            return True
        return self._publisher_limits.allow(f"publisher:{publisher.id}", publisher.requests_per_s, publisher.burst)

    def _publisher(self, request: AdRequest) -> Publisher | None:
        """Return the placement's publisher: the request's own `publisher_id` is a claim that any client can make."""
        catalog = self._catalogs.current
        placement = catalog.placements.get(request.placement_id or "")
        return None if placement is None else catalog.publishers.get(placement.publisher_id)

    def make_pending(
        self,
        request: AdRequest,
        context: SessionContext,
        deadline: float,
        on_done: Completion,
    ) -> PendingRequest:
        """Return a pending request with its candidates in order.

        Campaigns of a list that the placement blocks or whose targeting excludes the request are already refused.
        """
        is_named = request.request_id is not None
        progress = Progress(
            (),
            self._catalogs.current.revision,
            self._user_key(request),
            context.correlator,
            may_have_been_served=is_named,
        )
        pending = PendingRequest(
            request,
            context,
            keys.request_key(self._hash_key, context.request_id),
            keys.fingerprint(request.values) if is_named else 0,
            deadline,
            on_done,
            self._tracer.request(),
            progress,
            self._viewers.read(request.values, context.client),
        )
        self._decide(pending)
        return pending

    def rebase(self, pending: PendingRequest) -> None:
        """Redo the decisions about a request if the catalog has changed since."""
        if pending.progress.revision != self._catalogs.current.revision:
            self._decide(pending)

    def _decide(self, pending: PendingRequest) -> None:
        """Decide which campaigns are candidates of a request, by the current catalog."""
        catalog, request = self._catalogs.current, pending.request
        placement = catalog.placements.get(request.placement_id or "")
        if request.campaign_id is not None:
            pending.rebase_on(catalog.revision, (request.campaign_id,) if self.knows(request) else ())
        elif placement is not None and placement.campaigns == TARGETED:
            # A pod needs several, and a session may have seen the first ones.
            is_single = request.pod_size == 1 and request.session_id is None
            limit = FIRST_CANDIDATES_MAX if is_single else CANDIDATES_MAX
            pending.rebase_on(catalog.revision, self._choose_targeted(pending, placement, limit))
            return
        else:
            pending.rebase_on(catalog.revision, () if placement is None else placement.listed_campaigns)
        self._refuse_by_targeting(pending)

    def extend(self, pending: PendingRequest) -> bool:
        """Add the candidates that were not looked for at first; return whether there are any."""
        placement = self._catalogs.current.placements.get(pending.request.placement_id or "")
        first = pending.progress.candidates
        is_targeted = placement is not None and placement.campaigns == TARGETED
        if placement is None or not is_targeted or len(first) != FIRST_CANDIDATES_MAX:
            return False
        pending.add_candidates(self._choose_targeted(pending, placement, CANDIDATES_MAX))
        return len(pending.progress.candidates) > len(first)

    def _user_key(self, request: AdRequest) -> UUID | None:
        if not request.identifiable:
            return None
        if request.user_id is not None:
            return keys.user_key(self._hash_key, request.user_id)
        if request.device_id is not None:
            return keys.device_key(self._hash_key, request.device_id)
        return None

    def _refuse_by_targeting(self, pending: PendingRequest) -> None:
        ids = pending.progress.candidates
        for campaign_id in self._current_matcher().refused(pending.request, pending.viewer, ids, self.clock.now):
            pending.refuse(campaign_id, NoFillReason.TARGETING)

    def _choose_targeted(self, pending: PendingRequest, placement: Placement, limit: int) -> tuple[str, ...]:
        """Return the campaigns that match the request, in the order in which they are tried."""
        matcher = self._current_matcher()
        if self._targeted is None:
            self._targeted = TargetedCandidates(matcher)
        facts = matcher.facts(pending.request, pending.viewer)
        now, seed = self.clock.now(), pending.request_key.int
        return self._targeted.choose(placement, facts, pending.viewer, now, seed, self._pace, limit)

    def _current_matcher(self) -> TargetingMatcher:
        """Return the matcher of the current catalog."""
        if self._matcher.catalog is not self._catalogs.current:
            self._matcher = TargetingMatcher(self._catalogs.current, self._matcher)
            self._targeted = None
        return self._matcher


def unknown_id(request: AdRequest) -> InvalidRequest:
    """Return the error for a request whose campaign or placement is unknown."""
    field = "campaign_id" if request.campaign_id is not None else "placement_id"
    return InvalidRequest(field, f"unknown {field}")
