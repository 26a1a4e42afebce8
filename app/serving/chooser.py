"""The candidate decision: which campaigns of a request fill its slots, and with which creatives. Does no I/O."""

from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from app.domain import (
    AdRequest,
    Campaign,
    CapRules,
    Catalog,
    Competitors,
    Creative,
    NoFillReason,
    WithoutUser,
    creative_counter,
)
from app.serving.choice import Choice
from app.serving.pending import PendingRequest
from app.serving.pod_filling import Candidate, PodRoom, fill_pod
from app.upstreams.fetched_ad import FetchedAd


def is_countable(rules: CapRules | None, user_key: UUID | None, session_id: UUID | None) -> bool:
    """Return whether the request has a user, or a session, for each cap."""
    if rules is None:
        return True
    return not (rules.needs_user and user_key is None) and not (rules.needs_session and session_id is None)


def fitting_creatives(
    request: AdRequest, creatives: Sequence[Creative], room_s: Decimal | int | None
) -> Sequence[Creative]:
    """Return the creatives whose duration suits the request and the room left in the pod, in seconds."""
    shortest = request.min_duration_s
    longest: Decimal | int | None = request.max_duration_s
    if room_s is not None and (longest is None or room_s < longest):
        longest = room_s
    if shortest is None and longest is None:
        return creatives
    return [
        creative
        for creative in creatives
        if (longest is None or creative.duration_s <= longest) and (shortest is None or creative.duration_s >= shortest)
    ]


def running_creatives(creatives: Sequence[Creative], now: datetime, *, in_pod: bool) -> Sequence[Creative]:
    """Return the creatives that may be served at this moment: bumpers only in a pod."""
    return [creative for creative in creatives if creative.is_running(now) and (in_pod or not creative.bumper)]


def first_in_sequence(creatives: Sequence[Creative]) -> Sequence[Creative]:
    """Return the creatives that a viewing session plays next: those of the lowest sequence, or all if none has one."""
    positions = [creative.sequence for creative in creatives if creative.sequence is not None]
    if not positions:
        return creatives
    return [creative for creative in creatives if creative.sequence == min(positions)]


def pick_by_weight(creatives: Sequence[Creative], number: int) -> Creative:
    """Return the creative that a random number picks, each as often as its weight says."""
    if len(creatives) == 1:
        return creatives[0]
    point = number % sum(creative.weight for creative in creatives)
    for creative in creatives:
        point -= creative.weight
        if point < 0:
            return creative
    raise AssertionError("the point is less than the sum of all weights")


def pod_room(request: AdRequest) -> PodRoom:
    """Return the room of the request's pod."""
    room = PodRoom(request.pod_size, competitors=request.competitors)
    return room if request.pod_duration_s is None else room._replace(time_ms=request.pod_duration_s * 1000)


def competitor_before(catalog: Catalog, pending: PendingRequest, campaign: Campaign) -> Campaign | None:
    """Return another advertiser's campaign of a common category, which the viewing session's last answer had an ad of.

    The campaign may not follow it, unless the request lets competitors be together.
    """
    if not pending.progress.last_campaigns or pending.request.competitors is Competitors.TOGETHER:
        return None
    categories = set(campaign.categories)
    before = (catalog.campaigns[id_] for id_ in pending.progress.last_campaigns if id_ in catalog.campaigns)
    rivals = (earlier for earlier in before if not categories.isdisjoint(earlier.categories))
    return next((rival for rival in rivals if rival.advertiser != campaign.advertiser), None)


class Chooser:
    """Chooses for the requests of one group, one after the other."""

    def __init__(self, catalog: Catalog, now: datetime) -> None:
        self._catalog = catalog
        self._now = now
        self._counted: set[tuple[UUID, str]] = set()
        """Keys of users and sessions, each with the counter of a cap that counts an ad for it in this group."""
        self._sessions: set[UUID] = set()

    def choose(self, pending: PendingRequest, played: Collection[str]) -> list[Choice] | None:
        """Return the choices for the request's slots; none if every candidate is refused.

        `played` has the ids of creatives that the viewing session has seen. Return None if the request must wait for
        the next group: the group already counts an ad for the same user and cap, and one statement cannot update a
        row twice; or it already plays something in the same session.
        """
        session_id = pending.request.session_id
        if session_id in self._sessions:
            return None
        choices = self._fill_slots(pending, played)
        if not choices and pending.progress.repeats_allowed:
            choices = self._fill_slots(pending, ())
            if not choices and pending.request.pod_size > 1:
                _refuse_all(pending)
        keys = {
            (key, counter)
            for choice in choices
            if choice.counted
            for counter in self._catalog.cap_rules[choice.campaign.id].counters
            for key in (pending.progress.user_key, session_id)
            if key is not None
        }
        if not keys.isdisjoint(self._counted):
            return None
        self._counted |= keys
        if choices and session_id is not None:
            self._sessions.add(session_id)
        return choices

    def _fill_slots(self, pending: PendingRequest, played: Collection[str]) -> list[Choice]:
        if pending.request.pod_size > 1:
            return self._fill_pod(pending, played)
        for campaign_id in pending.progress.lane_candidates:
            candidate = self.candidate(pending, campaign_id, played)
            if candidate is not None:
                campaign, creatives = candidate
                picked = (pick_by_weight(creatives, pending.request_key.int),) if creatives else ()
                return [self._choice(pending, campaign, picked)]
        return []

    def _fill_pod(self, pending: PendingRequest, played: Collection[str]) -> list[Choice]:
        """Return the choices of a pod; none if there are fewer ads than the request wants."""
        request = pending.request
        found = (self.candidate(pending, campaign_id, played) for campaign_id in pending.progress.lane_candidates)
        ads = fill_pod(
            (candidate for candidate in found if candidate is not None),
            pod_room(request),
            lambda creatives: pick_by_weight(creatives, pending.request_key.int),
        )
        creatives: dict[str, list[Creative]] = {}
        for campaign, creative in ads:
            creatives.setdefault(campaign.id, []).extend([] if creative is None else [creative])
        choices = [
            self._choice(pending, self._catalog.campaigns[campaign_id], tuple(own))
            for campaign_id, own in creatives.items()
        ]
        choices = self._counted_apart(choices)
        return choices if sum(choice.ads_max for choice in choices) >= request.min_ads else []

    def _counted_apart(self, choices: list[Choice]) -> list[Choice]:
        """Return the choices without those that share a cap with an earlier one: a row cannot be updated twice."""
        counted: set[str] = set()
        apart: list[Choice] = []
        for choice in choices:
            counters = self._catalog.cap_rules[choice.campaign.id].counters if choice.counted else ()
            if counted.isdisjoint(counters):
                counted.update(counters)
                apart.append(choice)
        return apart

    def candidate(self, pending: PendingRequest, campaign_id: str, played: Collection[str]) -> Candidate | None:
        """Return the campaign with its suitable creatives that the session has not played; None if it cannot serve.

        Refuse it if a repeated creative could not serve either.
        """
        request, progress = pending.request, pending.progress
        if campaign_id in progress.refusals:
            return None
        campaign = self._catalog.campaigns[campaign_id]
        if campaign.without_user is WithoutUser.SKIP and not is_countable(
            self._catalog.cap_rules.get(campaign_id), progress.user_key, request.session_id
        ):
            pending.refuse(campaign.id, NoFillReason.NO_USER if request.identifiable else NoFillReason.CONSENT)
            return None
        if competitor_before(self._catalog, pending, campaign):
            pending.refuse(campaign.id, NoFillReason.NO_CANDIDATE)
            return None
        if campaign.upstreams:
            return Candidate(campaign, ())
        creatives = self._catalog.creatives.get(campaign_id, ())
        running = running_creatives(creatives, self._now, in_pod=request.pod_size > 1)
        suitable = fitting_creatives(request, running, request.pod_duration_s)
        if not suitable:
            pending.refuse(campaign.id, NoFillReason.NO_CANDIDATE)
            return None
        available = [item for item in suitable if creative_counter(item.id) not in progress.refusals]
        if not available:
            pending.refuse(campaign.id, NoFillReason.FREQUENCY_CAP)
            return None
        unplayed = [creative for creative in available if creative.id not in played] if played else available
        if not unplayed:
            return None
        return Candidate(campaign, first_in_sequence(unplayed) if request.session_id is not None else unplayed)

    def _choice(self, pending: PendingRequest, campaign: Campaign, creatives: tuple[Creative, ...]) -> Choice:
        fetched = None if creatives else pending.progress.ready_ads.get(campaign.id)
        return Choice(
            pending,
            campaign,
            self._catalog.advertiser_name(campaign),
            creatives,
            fetched,
            campaign.id in self._catalog.cap_rules,
            len(creatives) or _ads_max(pending.request.pod_size, fetched),
        )


def _refuse_all(pending: PendingRequest) -> None:
    """Refuse the candidates of a pod that is too short with all of them: too few ads, or only a bumper."""
    for campaign_id in pending.progress.lane_candidates:
        if campaign_id not in pending.progress.refusals:
            pending.refuse(campaign_id, NoFillReason.NO_CANDIDATE)


def _ads_max(pod_size: int, fetched: FetchedAd | None) -> int:
    """Return the number of slots that an upstream's answer may fill: all of them until it has arrived."""
    if pod_size == 1 or fetched is None:
        return pod_size
    return min(pod_size, max(1, sum(ad.sequence is not None for ad in fetched.document.ads)))
