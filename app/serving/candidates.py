"""CandidateResolver: what is decided of a request before it waits for its transaction."""

from typing import Protocol
from uuid import UUID

from app.domain import AdRequest, Catalog, NoFillReason
from app.errors import InvalidRequest
from app.serving import keys
from app.serving.chooser import targeting_refuses
from app.serving.context import SessionContext
from app.serving.outcomes import Completion
from app.serving.pending import PendingRequest
from app.serving.spans import NO_TRACER, RequestTracer


class PublisherLimits(Protocol):
    """What publishers may ask, over all servers."""

    def allow(self, name: str, rate_per_s: int, burst: int | None = None) -> bool:
        """Whether one more request of `name` may pass."""


class Catalogs(Protocol):
    """Where the catalog of the moment comes from."""

    current: Catalog

    async def reload(self, seen: Catalog) -> None:
        """Replaces the catalog that was seen, if there is a newer one."""


class CandidateResolver:
    """Finds a request's candidates and makes its pending, by the catalog of the moment."""

    def __init__(
        self,
        catalogs: Catalogs,
        publisher_limits: PublisherLimits,
        hash_key: bytes,
        spans: RequestTracer = NO_TRACER,
    ) -> None:
        self._catalogs = catalogs
        self._publisher_limits = publisher_limits
        self._hash_key = hash_key
        self._spans = spans

    def candidates(self, request: AdRequest) -> tuple[str, ...] | None:
        """The campaigns that may serve it, in their order; None if its campaign or placement is not known.

        A campaign that is not direct is answered like an unknown one, so that nobody can try which ids there are.
        """
        catalog = self._catalogs.current
        if request.campaign_id is not None:
            campaign = catalog.campaigns.get(request.campaign_id)
            return (campaign.id,) if campaign is not None and campaign.direct else None
        placement = catalog.placements.get(request.placement_id or "")
        return placement.campaigns if placement else None

    async def new_candidates(self, request: AdRequest) -> tuple[str, ...]:
        """As `candidates`, of an id that may have been set up a moment ago; raises InvalidRequest if it was not."""
        await self._catalogs.reload(self._catalogs.current)
        found = self.candidates(request)
        if found is None:
            field = "campaign_id" if request.campaign_id is not None else "placement_id"
            raise InvalidRequest(field, "is not known")
        return found

    def allows(self, request: AdRequest) -> bool:
        """Whether the placement's publisher may still ask.

        The request's own `publisher_id` is a claim that anybody can make, and never uses up a publisher's limit.
        """
        catalog = self._catalogs.current
        placement = catalog.placements.get(request.placement_id or "")
        publisher = None if placement is None else catalog.publishers.get(placement.publisher_id)
        if publisher is None or publisher.requests_per_s is None:
            return True
        return self._publisher_limits.allow(f"publisher:{publisher.id}", publisher.requests_per_s, publisher.burst)

    def pending(
        self,
        request: AdRequest,
        context: SessionContext,
        candidates: tuple[str, ...],
        deadline: float,
        on_done: Completion,
    ) -> PendingRequest:
        """The request's way through the lanes; candidates that its targeting rules out are refused already."""
        named = request.request_id is not None
        pending = PendingRequest(
            request=request,
            context=context,
            request_key=keys.request_key(self._hash_key, context.request_id),
            user_key=self._user_key(request),
            fingerprint=keys.fingerprint(request.values) if named else 0,
            correlator=context.correlator,
            candidates=candidates,
            revision=self._catalogs.current.revision,
            deadline=deadline,
            on_done=on_done,
            may_have_been_served=named,
            trace=self._spans.request(),
        )
        self._refuse_by_targeting(pending)
        return pending

    def decide_anew(self, pending: PendingRequest) -> None:
        """Forgets what followed from a catalog that is no longer the current one."""
        revision = self._catalogs.current.revision
        if pending.revision == revision:
            return
        pending.revision = revision
        pending.candidates = self.candidates(pending.request) or ()
        pending.refusals = {}
        pending.heard = False
        self._refuse_by_targeting(pending)

    def _user_key(self, request: AdRequest) -> UUID | None:
        if not request.identifiable:
            return None
        if request.user_id is not None:
            return keys.user_key(self._hash_key, request.user_id)
        if request.device_id is not None:
            return keys.device_key(self._hash_key, request.device_id)
        return None

    def _refuse_by_targeting(self, pending: PendingRequest) -> None:
        campaigns = self._catalogs.current.campaigns
        for campaign_id in pending.candidates:
            if targeting_refuses(campaigns[campaign_id].targeting, pending.request.values):
                pending.refusals[campaign_id] = NoFillReason.TARGETING
