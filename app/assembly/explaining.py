"""Why a request got no ad, or which campaign it would get: the server's own rules, with their numbers, read only."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from asyncpg import Connection, Record

from app.campaign_file.writing import money
from app.domain import AdRequest, Campaign, CampaignStatus, Catalog, Creative, NoFillReason, WithoutUser
from app.errors import Gone, InvalidRequest, NotFound
from app.serving import keys
from app.serving.decision import is_countable, targeting_refuses
from app.store import budgets, candidates, catalog, explaining, sessions
from app.store.explaining import BudgetRoom, CapCount

TARGETED = (("country", "countries"), ("device_type", "device_types"), ("content_genre", "content_genres"))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one candidate: `reason` is None if it may serve; `facts` has what that rests on, line by line."""

    campaign_id: str
    reason: NoFillReason | None
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The verdicts on all candidates in priority order, by the database's clock."""

    at: datetime
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who is counted: the keys by which the caps know the user and the session."""

    user_key: UUID | None
    session_id: UUID | None


async def explain(connection: "Connection[Record]", request: AdRequest, hash_key: bytes) -> Explanation:
    """Decides about a request as the server would at this moment, and changes nothing.

    Raises InvalidRequest for a campaign or placement that is not known, NotFound or Gone for the viewing session.
    """
    transaction = connection.transaction()
    await transaction.start()
    try:
        setup = await catalog.read(connection)
        ids = _candidates(setup, request)
        viewer = await _viewer(connection, request, hash_key)
        # The server begins budget periods as it meets them. Here they begin too, for as long as this looks at them.
        await budgets.open_periods(connection, ids)
        looked = await candidates.look(connection, ids, [viewer.user_key] * len(ids), [viewer.session_id] * len(ids))
        counts = await explaining.cap_counts(connection, ids, viewer.user_key, viewer.session_id)
        rooms = await explaining.budget_room(connection, ids)
    finally:
        await transaction.rollback()
    judge = _Judge(setup, request, viewer, looked.at)
    refusals = {ids[no]: NoFillReason(reason) for no, reason in looked.refusals.items()}
    return Explanation(
        looked.at,
        tuple(
            judge.verdict(
                setup.campaigns[campaign_id],
                refusals.get(campaign_id),
                [count for count in counts if count.campaign_id == campaign_id],
                [room for room in rooms if room.campaign_id == campaign_id],
            )
            for campaign_id in ids
        ),
    )


def _candidates(setup: Catalog, request: AdRequest) -> list[str]:
    if request.campaign_id is not None:
        campaign = setup.campaigns.get(request.campaign_id)
        if campaign is None:
            raise InvalidRequest("campaign_id", "is not known")
        if not campaign.direct:
            raise InvalidRequest("campaign_id", "names a campaign without direct = true, which only placements sell")
        return [request.campaign_id]
    placement = setup.placements.get(request.placement_id or "")
    if placement is None:
        raise InvalidRequest("placement_id", "is not known")
    return list(placement.campaigns)


async def _viewer(connection: "Connection[Record]", request: AdRequest, hash_key: bytes) -> Viewer:
    user_key = None
    if request.user_id is not None:
        user_key = keys.user_key(hash_key, request.user_id)
    elif request.device_id is not None:
        user_key = keys.device_key(hash_key, request.device_id)
    if request.session_id is not None:
        session = await sessions.find(connection, request.session_id)
        if session is None:
            raise NotFound(f"session {request.session_id} does not exist")
        if session.over:
            raise Gone(f"session {request.session_id} has ended")
        if request.identifiable:
            user_key = user_key or session.user_key
    return Viewer(user_key, request.session_id)


class _Judge:
    """Puts reasons in the order in which the server finds them, and facts beside them."""

    def __init__(self, setup: Catalog, request: AdRequest, viewer: Viewer, at: datetime) -> None:
        self._setup = setup
        self._request = request
        self._viewer = viewer
        self._at = at

    def verdict(
        self, campaign: Campaign, refusal: NoFillReason | None, counts: list[CapCount], rooms: list[BudgetRoom]
    ) -> Verdict:
        """`refusal` is what the database said; targeting comes before it, and the choice of an ad after."""
        fitting = self._fitting(campaign)
        reason = refusal
        if targeting_refuses(campaign.targeting, self._request.values):
            reason = NoFillReason.TARGETING
        elif reason is None and self._nobody_to_count(campaign):
            reason = NoFillReason.NO_USER if self._request.identifiable else NoFillReason.CONSENT
        elif reason is None and not campaign.upstreams and not fitting:
            reason = NoFillReason.NO_CANDIDATE
        facts = [
            self._status(campaign),
            *(self._targeting(campaign)),
            *(_cap(count, campaign) for count in counts),
            *(fact for room in rooms for fact in _budget(room)),
            self._ads(campaign, fitting),
        ]
        return Verdict(campaign.id, reason, tuple(facts))

    def _nobody_to_count(self, campaign: Campaign) -> bool:
        countable = is_countable(campaign, self._viewer.user_key, self._viewer.session_id)
        return not countable and campaign.without_user is WithoutUser.SKIP

    def _fitting(self, campaign: Campaign) -> list[Creative]:
        shortest, longest = self._request.min_duration_s or 0, self._request.max_duration_s
        return [
            creative
            for creative in self._setup.creatives.get(campaign.id, ())
            if creative.duration_s >= shortest and (longest is None or creative.duration_s <= longest)
        ]

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
                said = self._request.values.get(parameter)
                yield f"targeting: {parameter} must be one of {', '.join(wanted)}; the request says {said or 'nothing'}"

    def _ads(self, campaign: Campaign, fitting: list[Creative]) -> str:
        if campaign.upstreams:
            return f"ads: from {', '.join(campaign.upstreams)}, asked when its turn comes"
        owned = len(self._setup.creatives.get(campaign.id, ()))
        return f"ads: {len(fitting)} of its {owned} creatives are as long as the request wants"


def _cap(count: CapCount, campaign: Campaign) -> str:
    if not count.countable:
        nobody = "nobody is served" if campaign.without_user is WithoutUser.SKIP else "served without counting"
        return f"cap per {count.window}: {count.cap}; there is nobody to count, so {nobody}"
    until = f", until {_clock(count.ends_at)}" if count.ends_at else ""
    return f"cap per {count.window}: {count.count} of {count.cap} counted{until}"


def _budget(room: BudgetRoom) -> Iterator[str]:
    if room.limit is not None and room.by_now is not None:
        pace = "" if room.by_now >= room.limit else f", of which {room.by_now:.2f} may be spent by now"
        yield (
            f"{room.period} budget: {money(room.spent)} spent and {money(room.held)} held of {money(room.limit)} "
            f"{room.currency}{pace}; an ad costs {money(room.price)}"
        )
    if room.impressions_limit is not None and room.impressions_by_now is not None:
        by_now = room.impressions_by_now
        pace = "" if by_now >= room.impressions_limit else f", of which {by_now} may be served by now"
        yield f"{room.period} budget: {room.impressions} of {room.impressions_limit} impressions served{pace}"


def _clock(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
