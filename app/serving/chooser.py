"""The candidate decision: which campaign, and which of its creatives, for each slot. Pure."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from app.domain import Campaign, CapWindow, Catalog, Creative, NoFillReason, Targeting, WithoutUser
from app.serving.outcomes import FetchedAd
from app.serving.pending import Choice, PendingRequest


def targeting_refuses(targeting: Targeting, values: Mapping[str, str]) -> bool:
    """Whether the request's country, device type or genre is none of those that were asked for."""
    countries, device_types, genres = targeting.countries, targeting.device_types, targeting.content_genres
    return bool(
        (countries and values.get("country", "").lower() not in countries)
        or (device_types and values.get("device_type", "").lower() not in device_types)
        or (genres and values.get("content_genre", "").lower() not in genres)
    )


def is_countable(campaign: Campaign, user_key: UUID | None, session_id: UUID | None) -> bool:
    """Whether there is somebody to count for every cap of the campaign."""
    for cap in campaign.frequency_caps:
        if (session_id if cap.per is CapWindow.SESSION else user_key) is None:
            return False
    return True


def fitting_creatives(pending: PendingRequest, creatives: Sequence[Creative], room_s: int | None) -> Sequence[Creative]:
    """The creatives whose duration suits the request and the room that is left in the pod, in seconds."""
    shortest, longest = pending.request.min_duration_s, pending.request.max_duration_s
    if room_s is not None and (longest is None or room_s < longest):
        longest = room_s
    if shortest is None and longest is None:
        return creatives
    return [
        creative
        for creative in creatives
        if (longest is None or creative.duration_s <= longest) and (shortest is None or creative.duration_s >= shortest)
    ]


class Chooser:
    """Chooses for one pending at a time; remembers what the group has chosen already."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._counted: set[tuple[UUID | None, str]] = set()
        self._sessions: set[UUID] = set()

    def choose(self, pending: PendingRequest, played: Collection[str]) -> list[Choice] | None:
        """The choices for the pending's slots, none if every candidate is refused.

        None means that the pending waits for the next group, because this one already counts one of these campaigns for
        the same user, and one statement cannot touch a row twice; or plays something in the same session.
        """
        choices = self._fill(pending, played)
        if not choices and pending.repeats_allowed:
            choices = self._fill(pending, ())
        session_id = pending.request.session_id
        keys = {
            (key, choice.campaign.id)
            for choice in choices
            if choice.counted
            for key in (pending.user_key, session_id)
            if key is not None
        }
        if not keys.isdisjoint(self._counted) or (choices and session_id in self._sessions):
            return None
        self._counted |= keys
        if choices and session_id is not None:
            self._sessions.add(session_id)
        return choices

    def _fill(self, pending: PendingRequest, played: Collection[str]) -> list[Choice]:
        choices: list[Choice] = []
        advertisers: set[str] = set()
        room_s = pending.request.pod_duration_s
        for campaign_id in pending.run:
            if len(choices) == pending.request.pod_size:
                break
            campaign = self._catalog.campaigns[campaign_id]
            if campaign_id in pending.refusals or campaign.advertiser in advertisers:
                continue
            choice = self._candidate(pending, campaign, room_s, played)
            if choice is None:
                continue
            choices.append(choice)
            if pending.request.pod_size > 1:
                advertisers.add(campaign.advertiser)
            if room_s is not None and choice.creative is not None:
                room_s -= choice.creative.duration_s
        return choices

    def _candidate(
        self, pending: PendingRequest, campaign: Campaign, room_s: int | None, played: Collection[str]
    ) -> Choice | None:
        counted = bool(campaign.frequency_caps)
        countable = is_countable(campaign, pending.user_key, pending.request.session_id)
        if not countable and campaign.without_user is WithoutUser.SKIP:
            withheld = not pending.request.identifiable
            pending.refusals[campaign.id] = NoFillReason.CONSENT if withheld else NoFillReason.NO_USER
            return None
        if campaign.upstreams:
            fetched = pending.in_hand.get(campaign.id)
            return Choice(pending, campaign, None, fetched, counted, _ads_max(pending.request.pod_size, fetched))
        suitable = fitting_creatives(
            pending, self._catalog.creatives.get(campaign.id, ()), pending.request.pod_duration_s
        )
        if not suitable:
            pending.refusals[campaign.id] = NoFillReason.NO_CANDIDATE
            return None
        fitting = fitting_creatives(pending, suitable, room_s)
        unplayed = [creative for creative in fitting if creative.id not in played] if played else fitting
        if not unplayed:
            return None
        creative = unplayed[pending.request_key.int % len(unplayed)]
        return Choice(pending, campaign, creative, None, counted)


def _ads_max(pod_size: int, fetched: FetchedAd | None) -> int:
    """How many slots an upstream's answer may fill: before it is here, all of them."""
    if pod_size == 1 or fetched is None:
        return pod_size
    return min(pod_size, max(1, sum(ad.sequence is not None for ad in fetched.document.ads)))
