"""The candidate decision: which campaigns of a request fill its slots, and with which creatives. Does no I/O."""

from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from app.domain import AdRequest, Campaign, CapWindow, Catalog, Creative, NoFillReason, WithoutUser
from app.serving.choice import Choice
from app.serving.pending import PendingRequest
from app.upstreams.fetched_ad import FetchedAd


def is_countable(campaign: Campaign, user_key: UUID | None, session_id: UUID | None) -> bool:
    """Return whether the request has a user, or a session, for each cap of the campaign."""
    for cap in campaign.frequency_caps:
        if (session_id if cap.per is CapWindow.SESSION else user_key) is None:
            return False
    return True


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


def running_creatives(creatives: Sequence[Creative], now: datetime) -> Sequence[Creative]:
    """Return the creatives that may be served at this moment."""
    return [creative for creative in creatives if creative.is_running(now)]


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


class Chooser:
    """Chooses for the requests of one group, one after the other."""

    def __init__(self, catalog: Catalog, now: datetime) -> None:
        self._catalog = catalog
        self._now = now
        self._counted: set[tuple[UUID, str]] = set()
        """Keys of users and sessions, each with a campaign whose caps count an ad for it in this group."""
        self._sessions: set[UUID] = set()

    def choose(self, pending: PendingRequest, played: Collection[str]) -> list[Choice] | None:
        """Return the choices for the request's slots; none if every candidate is refused.

        `played` has the ids of creatives that the viewing session has seen. Return None if the request must wait for
        the next group: the group already counts one of these campaigns for the same user, and one statement cannot
        update a row twice; or it already plays something in the same session.
        """
        choices = self._fill_slots(pending, played)
        if not choices and pending.progress.repeats_allowed:
            choices = self._fill_slots(pending, ())
        session_id = pending.request.session_id
        keys = {
            (key, choice.campaign.id)
            for choice in choices
            if choice.counted
            for key in (pending.progress.user_key, session_id)
            if key is not None
        }
        if not keys.isdisjoint(self._counted) or (choices and session_id in self._sessions):
            return None
        self._counted |= keys
        if choices and session_id is not None:
            self._sessions.add(session_id)
        return choices

    def _fill_slots(self, pending: PendingRequest, played: Collection[str]) -> list[Choice]:
        choices: list[Choice] = []
        advertisers: set[str] = set()
        request = pending.request
        room_s: Decimal | int | None = request.pod_duration_s
        for campaign_id in pending.progress.lane_candidates:
            if len(choices) == request.pod_size:
                break
            campaign = self._catalog.campaigns[campaign_id]
            if campaign_id in pending.progress.refusals or campaign.advertiser in advertisers:
                continue
            choice = self._choose_campaign(pending, campaign, room_s, played)
            if choice is None:
                continue
            choices.append(choice)
            if request.pod_size > 1:
                advertisers.add(campaign.advertiser)
            if room_s is not None and choice.creative is not None:
                room_s -= choice.creative.duration_s
        return choices

    def _choose_campaign(
        self, pending: PendingRequest, campaign: Campaign, room_s: Decimal | int | None, played: Collection[str]
    ) -> Choice | None:
        """Return the choice of a campaign, or None if it cannot fill this slot; refuse it if it can fill no slot."""
        request, progress = pending.request, pending.progress
        countable = is_countable(campaign, progress.user_key, request.session_id)
        if not countable and campaign.without_user is WithoutUser.SKIP:
            pending.refuse(campaign.id, NoFillReason.NO_USER if request.identifiable else NoFillReason.CONSENT)
            return None
        counted = bool(campaign.frequency_caps)
        advertiser = self._catalog.advertiser_name(campaign)
        if campaign.upstreams:
            fetched = progress.ready_ads.get(campaign.id)
            return Choice(pending, campaign, advertiser, None, fetched, counted, _ads_max(request.pod_size, fetched))
        running = running_creatives(self._catalog.creatives.get(campaign.id, ()), self._now)
        suitable = fitting_creatives(request, running, request.pod_duration_s)
        if not suitable:
            pending.refuse(campaign.id, NoFillReason.NO_CANDIDATE)
            return None
        fitting = fitting_creatives(request, suitable, room_s)
        unplayed = [creative for creative in fitting if creative.id not in played] if played else fitting
        if not unplayed:
            return None
        if request.session_id is not None:
            unplayed = first_in_sequence(unplayed)
        creative = pick_by_weight(unplayed, pending.request_key.int)
        return Choice(pending, campaign, advertiser, creative, None, counted)


def _ads_max(pod_size: int, fetched: FetchedAd | None) -> int:
    """Return the number of slots that an upstream's answer may fill: all of them until it has arrived."""
    if pod_size == 1 or fetched is None:
        return pod_size
    return min(pod_size, max(1, sum(ad.sequence is not None for ad in fetched.document.ads)))
