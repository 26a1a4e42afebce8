"""Why a request got no ad, or which campaign it would get: the server's own rules, with their numbers, read only."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import takewhile
from math import inf

from asyncpg import Connection, Record

from app.campaign_file.exporter import format_amount
from app.domain import AdRequest, Campaign, CampaignStatus, Catalog, NoFillReason, WithoutUser
from app.errors import Gone, InvalidRequest, NotFound
from app.serving.candidates import CandidateResolver
from app.serving.chooser import Chooser, fitting_creatives
from app.serving.context import open_context
from app.serving.keys import new_request_key
from app.serving.pending import PendingRequest
from app.store import budget_periods, candidates, catalog_reader, limit_status, sessions
from app.store.limit_status import BudgetRoom, CapStatus

TARGETED = (("country", "countries"), ("device_type", "device_types"), ("content_genre", "content_genres"))


@dataclass(frozen=True, slots=True)
class CandidateVerdict:
    """What becomes of one candidate: `reason` is None if it may serve; `facts` has what that rests on, line by line."""

    campaign_id: str
    reason: NoFillReason | None
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The verdicts on all candidates in priority order, by the database's clock."""

    at: datetime
    verdicts: tuple[CandidateVerdict, ...]


class _Snapshot:
    """One state of the catalog, for the server's own admission, and no publisher's limit."""

    def __init__(self, current: Catalog) -> None:
        self.current = current

    async def reload(self, seen: Catalog) -> None:
        """Nothing: the transaction sees no newer one."""

    def allow(self, name: str, rate_per_s: int, burst: int | None = None) -> bool:
        """Always: whether a publisher is above its limit only the servers know."""
        return True


async def explain(connection: "Connection[Record]", request: AdRequest, hash_key: bytes) -> Explanation:
    """Decides about a request as the server would at this moment, and changes nothing.

    Raises InvalidRequest for a campaign or placement that is not known, NotFound or Gone for the viewing session.
    """
    transaction = connection.transaction()
    await transaction.start()
    try:
        setup = await catalog_reader.read(connection)
        pending = _ticket(setup, request, hash_key)
        played = await _join_session(connection, pending)
        ids = list(pending.candidates)
        viewer = (pending.user_key, request.session_id)
        # The server begins budget periods as it meets them. Here they begin too, for as long as this looks at them.
        await budget_periods.open_periods(connection, ids)
        looked = await candidates.check_candidates(connection, ids, [viewer[0]] * len(ids), [viewer[1]] * len(ids))
        counts = await limit_status.read_cap_status(connection, ids, *viewer)
        rooms = await limit_status.read_budget_room(connection, ids)
    finally:
        await transaction.rollback()
    refusals = {ids[index]: NoFillReason(reason) for index, reason in looked.refusals.items()}
    reasons = _reasons(setup, pending, played, refusals)
    if None not in reasons.values():
        reasons = _reasons(setup, pending, (), refusals)
    facts = _Facts(setup, pending, looked.at)
    return Explanation(
        looked.at, tuple(CandidateVerdict(of, reasons[of], facts.of(setup.campaigns[of], counts, rooms)) for of in ids)
    )


def _ticket(setup: Catalog, request: AdRequest, hash_key: bytes) -> PendingRequest:
    """The request as the server admits it."""
    snapshot = _Snapshot(setup)
    admission = CandidateResolver(snapshot, snapshot, hash_key)
    ids = admission.candidates(request)
    if ids is None and request.campaign_id in setup.campaigns:
        raise InvalidRequest("campaign_id", "names a campaign without direct = true, which only placements sell")
    if ids is None:
        raise InvalidRequest("placement_id" if request.campaign_id is None else "campaign_id", "is not known")
    with open_context(request.request_id or str(new_request_key()), {}) as context:
        return admission.pending(request, context, ids, inf, lambda _: None)


async def _join_session(connection: "Connection[Record]", pending: PendingRequest) -> Collection[str]:
    """Gives the pending the user of its viewing session; returns the creatives that were served in it."""
    session_id = pending.request.session_id
    if session_id is None:
        return ()
    session = await sessions.find(connection, session_id)
    if session is None:
        raise NotFound(f"session {session_id} does not exist")
    if session.over:
        raise Gone(f"session {session_id} has ended")
    if pending.user_key is None and pending.request.identifiable:
        pending.user_key = session.user_key
    return session.played


def _reasons(
    setup: Catalog, pending: PendingRequest, played: Collection[str], refusals: Mapping[str, NoFillReason]
) -> dict[str, NoFillReason | None]:
    """What speaks against each candidate: targeting, the choice of an ad, or the database, as the server finds them.

    The server looks into the database first, unless there is but one own candidate to try.
    """
    first = [*takewhile(lambda of: not setup.campaigns[of].upstreams, pending.remaining)]
    looks_first = len(first) != 1 or (pending.request.pod_size > 1 and len(pending.remaining) > 1)
    reasons: dict[str, NoFillReason | None] = {}
    for campaign_id in pending.candidates:
        targeted = pending.refusals.get(campaign_id)
        by_database = refusals.get(campaign_id)
        by_choice = targeted or _refused_by_choice(setup, pending, campaign_id, played)
        looked = by_database if looks_first and targeted is None else None
        reasons[campaign_id] = looked or by_choice or by_database
    return reasons


def _refused_by_choice(
    setup: Catalog, pending: PendingRequest, campaign_id: str, played: Collection[str]
) -> NoFillReason | None:
    alone = replace(pending, run=(campaign_id,), refusals={}, repeats_allowed=False)
    if Chooser(setup).choose(alone, played):
        return None
    return alone.refusals.get(campaign_id, NoFillReason.NO_CANDIDATE)


class _Facts:
    """What a verdict rests on, line by line."""

    def __init__(self, setup: Catalog, pending: PendingRequest, at: datetime) -> None:
        self._setup = setup
        self._ticket = pending
        self._at = at

    def of(self, campaign: Campaign, counts: list[CapStatus], rooms: list[BudgetRoom]) -> tuple[str, ...]:
        return (
            self._status(campaign),
            *self._targeting(campaign),
            *(_cap(count, campaign) for count in counts if count.campaign_id == campaign.id),
            *(fact for room in rooms if room.campaign_id == campaign.id for fact in _budget(room)),
            self._ads(campaign),
        )

    def _status(self, campaign: Campaign) -> str:
        if self._at < campaign.starts_at:
            flight = f"its flight starts at {_clock(campaign.starts_at)}"
        elif self._at >= campaign.ends_at:
            flight = f"its flight ended at {_clock(campaign.ends_at)}"
        else:
            flight = f"its flight runs until {_clock(campaign.ends_at)}"
        active = "is active" if campaign.status is CampaignStatus.ACTIVE else f"is {campaign.status}"
        return f"status: {active}, {flight}"

    def _targeting(self, campaign: Campaign) -> Iterator[str]:
        for parameter, key in TARGETED:
            wanted: tuple[str, ...] = getattr(campaign.targeting, key)
            if wanted:
                said = self._ticket.request.values.get(parameter)
                yield f"targeting: {parameter} must be one of {', '.join(wanted)}; the request says {said or 'nothing'}"

    def _ads(self, campaign: Campaign) -> str:
        if campaign.upstreams:
            return f"ads: from {', '.join(campaign.upstreams)}, asked when its turn comes"
        owned = self._setup.creatives.get(campaign.id, ())
        fitting = fitting_creatives(self._ticket, owned, self._ticket.request.pod_duration_s)
        return f"ads: {len(fitting)} of its {len(owned)} creatives are as long as the request wants"


def _cap(count: CapStatus, campaign: Campaign) -> str:
    if not count.countable:
        nobody = "nobody is served" if campaign.without_user is WithoutUser.SKIP else "served without counting"
        return f"cap per {count.window}: {count.cap}; there is nobody to count, so {nobody}"
    until = f", until {_clock(count.ends_at)}" if count.ends_at else ""
    return f"cap per {count.window}: {count.count} of {count.cap} counted{until}"


def _budget(room: BudgetRoom) -> Iterator[str]:
    if room.limit is not None and room.by_now is not None:
        pace = "" if room.by_now >= room.limit else f", of which {room.by_now:.2f} may be spent by now"
        yield (
            f"{room.period} budget: {format_amount(room.spent)} spent and {format_amount(room.held)} held"
            f" of {format_amount(room.limit)} {room.currency}{pace}; an ad costs {format_amount(room.price)}"
        )
    if room.impressions_limit is not None and room.impressions_by_now is not None:
        by_now = room.impressions_by_now
        pace = "" if by_now >= room.impressions_limit else f", of which {by_now} may be served by now"
        yield f"{room.period} budget: {room.impressions} of {room.impressions_limit} impressions served{pace}"


def _clock(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
