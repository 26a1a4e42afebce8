"""Explains, for each candidate of a request, whether it would serve now: the server's own rules, read only."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import takewhile
from math import inf

from asyncpg import Connection, Record

from app.campaign_file.exporter import format_amount
from app.domain import (
    TARGETED,
    AdRequest,
    Campaign,
    CapLevel,
    Catalog,
    Client,
    NoFillReason,
    PriceModel,
    WithoutUser,
    creative_counter,
)
from app.errors import Gone, InvalidRequest, NotFound
from app.serving.candidates import CandidateResolver, unknown_id
from app.serving.chooser import Chooser, competitor_before, fitting_creatives, running_creatives
from app.serving.context import open_context
from app.serving.keys import new_request_key
from app.serving.pace import Pace
from app.serving.pending import PendingRequest
from app.serving.pod_facts import PodFacts
from app.serving.targeted_facts import PlacementFacts, add_refused
from app.serving.targeting_facts import targeting_facts
from app.store import budget_periods, candidate_checks, catalog_reader, goals, limit_status, sessions
from app.store.goals import GoalPace
from app.store.limit_status import BudgetRoom, CapStatus
from app.targeting.matcher import TargetingMatcher
from app.targeting.viewer import ViewerReader

TRUSTED = Client(is_trusted=True)
"""The person who asks for an explanation may say anything about the viewer."""

SOLD = {PriceModel.CPC: "a click", PriceModel.CPCV: "a completed view"}
"""The event that a price is for, by the model of the price; an ad for all others."""


@dataclass(frozen=True, slots=True)
class CandidateVerdict:
    """The verdict on one candidate: `reason` is None if it may serve; `facts` has one line for each rule."""

    campaign_id: str
    reason: NoFillReason | None
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The verdicts on all candidates in priority order, and the time of the database's clock."""

    decided_at: datetime
    verdicts: tuple[CandidateVerdict, ...]
    notes: tuple[str, ...] = ()
    """Lines about campaigns without a verdict."""


class _Snapshot:
    """A catalog that does not change, and publishers without rate limits, for the server's candidate resolver."""

    def __init__(self, current: Catalog) -> None:
        self.current = current

    async def reload(self, seen: Catalog) -> None:
        """Do nothing: the transaction sees no newer catalog."""

    def allow(self, name: str, rate_per_s: int, burst: int | None = None) -> bool:
        """Return True: only the servers know whether a publisher is above its limit."""
        return True


async def explain(
    connection: "Connection[Record]", request: AdRequest, hash_key: bytes, viewers: ViewerReader
) -> Explanation:
    """Decide about a request as the server would at this moment; change nothing.

    Raise InvalidRequest for an unknown campaign or placement, and NotFound or Gone for the viewing session.
    """
    transaction = connection.transaction()
    await transaction.start()
    try:
        setup = await catalog_reader.read(connection)
        pace = await goals.read_pace(connection)
        pending = _pending(setup, request, hash_key, viewers, pace)
        matcher = TargetingMatcher(setup)
        placement = setup.placements.get(request.placement_id or "")
        notes: tuple[str, ...] = ()
        if placement is not None and placement.campaigns == TARGETED:
            notes = add_refused(pending, placement, matcher, pace.database_time)
        played = await _join_session(connection, pending)
        ids = list(pending.progress.candidates)
        viewer = (pending.progress.user_key, request.session_id)
        # The server opens budget periods when it meets them. This transaction opens them too, until it is rolled back.
        await budget_periods.open_periods(connection, ids)
        checked = await candidate_checks.check_candidates(
            connection, ids, [viewer[0]] * len(ids), [viewer[1]] * len(ids)
        )
        counts = await limit_status.read_cap_status(connection, ids, *viewer)
        rooms = await limit_status.read_budget_room(connection, ids)
    finally:
        await transaction.rollback()
    _refuse_capped_creatives(pending, counts)
    refusals = {ids[index]: NoFillReason(reason) for index, reason in checked.refusals.items()}
    reasons = _reasons(setup, pending, played, refusals, pace.database_time)
    if None not in reasons.values():
        reasons = _reasons(setup, pending, (), refusals, pace.database_time)
    pod = PodFacts(setup, pending, [id_ for id_ in ids if reasons[id_] is None], played, pace.database_time)
    if pod.is_empty:
        reasons = {id_: reason or NoFillReason.NO_CANDIDATE for id_, reason in reasons.items()}
    in_placement = PlacementFacts(placement, Pace(pace.behind))
    facts = _Facts(setup, pending, matcher, in_placement, pod, checked.database_time)
    verdicts = (CandidateVerdict(id_, reasons[id_], facts.of_campaign(id_, counts, rooms)) for id_ in ids)
    return Explanation(checked.database_time, tuple(verdicts), notes)


def _pending(
    setup: Catalog, request: AdRequest, hash_key: bytes, viewers: ViewerReader, pace: GoalPace
) -> PendingRequest:
    """Return the pending request that the server would make."""
    snapshot = _Snapshot(setup)
    resolver = CandidateResolver(snapshot, snapshot, hash_key, viewers)
    resolver.observe_pace(pace)
    if not resolver.knows(request):
        if request.campaign_id in setup.campaigns:
            raise InvalidRequest("campaign_id", "names a campaign without direct = true, which only placements sell")
        raise unknown_id(request)
    with open_context(request.request_id or str(new_request_key()), {}, TRUSTED) as context:
        pending = resolver.make_pending(request, context, inf, lambda _: None)
    resolver.extend(pending)
    return pending


async def _join_session(connection: "Connection[Record]", pending: PendingRequest) -> Collection[str]:
    """Give the request the user of its viewing session; return the ids of the creatives that the session has played."""
    session_id = pending.request.session_id
    if session_id is None:
        return ()
    session = await sessions.find(connection, session_id)
    if session is None:
        raise NotFound(f"session {session_id} does not exist")
    if session.over:
        raise Gone(f"session {session_id} has ended")
    pending.join_session(session.user_key, session.correlator, session.last_campaigns)
    return session.played


def _refuse_capped_creatives(pending: PendingRequest, counts: list[CapStatus]) -> None:
    """Refuse the creatives that the user has seen as often as the caps on each creative allow."""
    for count in counts:
        if count.creative_id is not None and count.countable and count.count >= count.cap:
            pending.refuse(creative_counter(count.creative_id), NoFillReason.FREQUENCY_CAP)


def _reasons(
    setup: Catalog,
    pending: PendingRequest,
    played: Collection[str],
    refusals: Mapping[str, NoFillReason],
    now: datetime,
) -> dict[str, NoFillReason | None]:
    """Return each candidate's reason against it: its targeting, the choice of an ad, or the database's `refusals`.

    They have the server's precedence: the pre-check comes before the choice, unless there is only one own candidate.
    """
    remaining = pending.remaining
    ready = [*takewhile(lambda id_: not setup.campaigns[id_].upstreams, remaining)]
    has_pre_check = len(ready) != 1 or (pending.request.pod_size > 1 and len(remaining) > 1)
    reasons: dict[str, NoFillReason | None] = {}
    for campaign_id in pending.progress.candidates:
        by_targeting = pending.progress.refusals.get(campaign_id)
        by_database = refusals.get(campaign_id)
        by_choice = by_targeting or _refused_by_choice(setup, pending, campaign_id, played, now)
        by_pre_check = by_database if has_pre_check and by_targeting is None else None
        reasons[campaign_id] = by_pre_check or by_choice or by_database
    return reasons


def _refused_by_choice(
    setup: Catalog, pending: PendingRequest, campaign_id: str, played: Collection[str], now: datetime
) -> NoFillReason | None:
    """Return the reason for which the server's chooser refuses the campaign as the only candidate."""
    refusals = pending.progress.refusals.copy()
    progress = replace(pending.progress, lane_candidates=(campaign_id,), refusals=refusals, repeats_allowed=False)
    if Chooser(setup, now).candidate(replace(pending, progress=progress), campaign_id, played):
        return None
    return progress.refusals.get(campaign_id, NoFillReason.NO_CANDIDATE)


class _Facts:
    """The facts that the verdicts rest on, as lines of text."""

    def __init__(
        self,
        setup: Catalog,
        pending: PendingRequest,
        matcher: TargetingMatcher,
        in_placement: PlacementFacts,
        pod: PodFacts,
        now: datetime,
    ) -> None:
        self._setup = setup
        self._in_placement = in_placement
        self._pod = pod
        self._pending = pending
        self._request = pending.request
        self._viewer = pending.viewer
        self._facts = matcher.facts(pending.request, pending.viewer)
        self._now = now

    def of_campaign(self, campaign_id: str, counts: list[CapStatus], rooms: list[BudgetRoom]) -> tuple[str, ...]:
        campaign = self._setup.campaigns[campaign_id]
        return (
            self._status(campaign),
            *self._in_placement.of_campaign(campaign),
            *targeting_facts(campaign, self._facts, self._viewer, self._now),
            *(_cap(count, campaign) for count in counts if count.campaign_id == campaign_id),
            *(fact for room in rooms if room.campaign_id == campaign_id for fact in _budget(room)),
            self._ads(campaign),
            *self._session(campaign),
            *self._pod.of_campaign(campaign),
        )

    def _status(self, campaign: Campaign) -> str:
        if self._now < campaign.starts_at:
            flight = f"its flight starts at {_clock(campaign.starts_at)}"
        elif self._now >= campaign.ends_at:
            flight = f"its flight ended at {_clock(campaign.ends_at)}"
        else:
            flight = f"its flight runs until {_clock(campaign.ends_at)}"
        return f"status: {campaign.status}, {flight}"

    def _ads(self, campaign: Campaign) -> str:
        if campaign.upstreams:
            return f"ads: fetched from {', '.join(campaign.upstreams)}"
        creatives = self._setup.creatives.get(campaign.id, ())
        running = running_creatives(creatives, self._now, in_pod=self._request.pod_size > 1)
        fitting = fitting_creatives(self._request, running, self._request.pod_duration_s)
        return (
            f"ads: {len(running)} of {len(creatives)} creatives run now; "
            f"{len(fitting)} of these have a duration that fits the request"
        )

    def _session(self, campaign: Campaign) -> Iterator[str]:
        if rival := competitor_before(self._setup, self._pending, campaign):
            yield f"session: its last answer had an ad of {rival.id}, a competitor, which this campaign may not follow"


def _cap(count: CapStatus, campaign: Campaign) -> str:
    if not count.countable:
        consequence = "no ad is served" if campaign.without_user is WithoutUser.SKIP else "ads are not counted"
        return f"{_cap_name(count)}: {count.cap}; the request has no user or session to count, so {consequence}"
    until = f", until {_clock(count.ends_at)}" if count.ends_at else ""
    return f"{_cap_name(count)}: {count.count} of {count.cap} counted{until}"


def _cap_name(count: CapStatus) -> str:
    window = f"every {count.window}" if count.window[0].isdigit() else f"per {count.window}"
    if count.creative_id is not None:
        return f"cap of creative {count.creative_id} {window}"
    return f"cap {window}" if count.level == CapLevel.CAMPAIGN else f"cap of the {count.level} {window}"


def _budget(room: BudgetRoom) -> Iterator[str]:
    name = f"{room.period} budget" if room.order_id is None else f"budget of order {room.order_id}"
    model = PriceModel(room.price_model)
    if room.limit is not None and room.allowed_by_now is not None:
        pace = "" if room.allowed_by_now >= room.limit else f", of which {room.allowed_by_now:.2f} may be spent by now"
        yield (
            f"{name}: {format_amount(room.spent)} spent and {format_amount(room.held)} held"
            f" of {format_amount(room.limit)} {room.currency}{pace}"
            f"; {SOLD.get(model, 'an ad')} costs {format_amount(room.price)}"
        )
    if room.impressions_limit is not None and room.impressions_allowed_by_now is not None:
        by_now = room.impressions_allowed_by_now
        pace = "" if by_now >= room.impressions_limit else f", of which {by_now} may be served by now"
        used = f"{room.impressions} of {room.impressions_limit}"
        unit = "impressions" if room.order_id else model.counted_unit
        yield f"{name}: {used} {unit} {'served' if unit == 'impressions' else 'charged and held'}{pace}"


def _clock(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
