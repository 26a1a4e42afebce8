"""Selects the Ads to serve from the documents of a request's choices. Does no I/O."""

from collections.abc import Sequence
from decimal import Decimal

from app.domain import BUMPER_ORDER, AdRequest, Competitors, NoFillReason
from app.serving.choice import Choice, Selection
from app.vast.compiled_document import AdFacts


def select(choices: Sequence[Choice]) -> list[Selection]:
    """Return the Ads to pay for, in playing order, within the request's pod size, its durations and the caps' room.

    `choices` are those of one request that have an ad, in priority order. An own creative is one Ad. An upstream's pod
    fills slots in the order of its `sequence`; a stand-alone Ad replaces one that does not suit. If the request is not
    for a pod, or the upstream has none, one Ad is selected: the first stand-alone Ad that suits, or else the first of
    the pod (VAST 4.2 section 3.3.1).

    Refuse a choice if none of its Ads suits the request and nothing was selected before it.
    """
    if len(choices) == 1 and len(choices[0].creatives) == 1:
        return [Selection(choices[0], 0, choices[0].creatives[0])]
    pod = _Pod(choices)
    for choice in choices:
        if pod.is_full:
            break
        if choice.creatives:
            pod.add_creatives(choice)
        elif choice.fetched is not None:
            pod.add_document(choice, choice.fetched.document.ads)
        if not pod.selected:
            choice.refuse(NoFillReason.NO_CANDIDATE)
    return pod.in_playing_order()


def is_too_short(selected: Sequence[Selection]) -> bool:
    """Return whether these are too few Ads for the request's pod, or a bumper alone."""
    first = selected[0]
    if len(selected) == 1 and first.pod_order == BUMPER_ORDER:
        return True
    return len(selected) < first.choice.pending.request.min_ads


def refuse_too_short(choices: Sequence[Choice], selected: Sequence[Selection]) -> None:
    """Refuse choices of a pod with too few Ads, unless one was refused, so that another attempt chooses others.

    Those that have no Ad in the pod are refused, or else all.
    """
    if any(choice.campaign.id in choice.pending.progress.refusals for choice in choices):
        return
    with_ads = {selection.choice for selection in selected}
    for choice in [choice for choice in choices if choice not in with_ads] or choices:
        choice.refuse(NoFillReason.NO_CANDIDATE)


class _Pod:
    """The selection for one request so far, and the room that it leaves."""

    def __init__(self, choices: Sequence[Choice]) -> None:
        self._request = choices[0].pending.request
        self._room_s: Decimal | int | None = self._request.pod_duration_s
        self._advertisers = {choice.advertiser_name for choice in choices if choice.creatives}
        self._creative_ids: set[str] = set()
        self.selected: list[Selection] = []

    @property
    def is_full(self) -> bool:
        """Whether every slot is filled."""
        return len(self.selected) >= self._request.pod_size

    def add_creatives(self, choice: Choice) -> None:
        """Select own creatives, unless the Ads before them have taken their room."""
        for creative in choice.playable_creatives[: choice.ads_allowed]:
            if not self.is_full and (self._room_s is None or creative.duration_s <= self._room_s):
                self._select(Selection(choice, 0, creative), creative.duration_s)

    def in_playing_order(self) -> list[Selection]:
        """Return the selected Ads with their slots: a bumper, a first creative, the others, a last creative."""
        ordered = sorted(self.selected, key=lambda selection: selection.pod_order)
        for slot, selection in enumerate(ordered):
            selection.slot = slot
        return ordered

    def add_document(self, choice: Choice, ads: Sequence[AdFacts]) -> None:
        """Select Ads of an upstream's document."""
        if self._request.pod_size > 1 and choice.fetched is not None and not choice.fetched.document.fits_pods:
            return
        stand_alone = [ad for ad in ads if ad.sequence is None]
        pod = sorted((ad for ad in ads if ad.sequence is not None), key=lambda ad: ad.sequence or 0)
        if self._request.pod_size > 1 and pod:
            selected = self._fill_slots(choice, pod, stand_alone)
        else:
            selected = self._select_first(choice, [*stand_alone, *pod])
        # Ads of one document may have the same advertiser, because their upstream combined them.
        self._advertisers |= {choice.advertiser_name, *(ad.advertiser for ad in selected if ad.advertiser)}
        self._creative_ids |= {creative_id for ad in selected for creative_id in ad.creative_ids}

    def _select_first(self, choice: Choice, ads: Sequence[AdFacts]) -> list[AdFacts]:
        suitable = next((ad for ad in ads if self._suits(ad)), None)
        return [] if suitable is None else [self._select_ad(choice, suitable)]

    def _fill_slots(self, choice: Choice, pod: Sequence[AdFacts], substitutes: list[AdFacts]) -> list[AdFacts]:
        selected: list[AdFacts] = []
        for ad in pod:
            if self.is_full or len(selected) == choice.ads_allowed:
                break
            suitable = next((other for other in (ad, *substitutes) if self._suits(other)), None)
            if suitable is None:
                continue
            if suitable is not ad:
                substitutes.remove(suitable)
            selected.append(self._select_ad(choice, suitable))
        return selected

    def _suits(self, ad: AdFacts) -> bool:
        if not _has_suitable_duration(self._request, ad, self._room_s):
            return False
        # A single ad repeats nothing.
        if self._request.pod_size == 1:
            return True
        is_competitor = self._request.competitors is Competitors.APART and ad.advertiser in self._advertisers
        return not is_competitor and ad.creative_ids.isdisjoint(self._creative_ids)

    def _select_ad(self, choice: Choice, ad: AdFacts) -> AdFacts:
        self._select(Selection(choice, 0, None, ad.position), ad.duration_s)
        return ad

    def _select(self, selection: Selection, duration_s: Decimal | None) -> None:
        self.selected.append(selection)
        if self._room_s is not None:
            self._room_s -= duration_s or 0


def _has_suitable_duration(request: AdRequest, ad: AdFacts, room_s: Decimal | int | None) -> bool:
    """Return whether the Ad is neither too short nor too long.

    A Wrapper has no duration, and suits. An InLine without one suits only if the request has no limits.
    """
    shortest, limits = request.min_duration_s, [s for s in (request.max_duration_s, room_s) if s is not None]
    if ad.duration_s is None:
        return ad.is_wrapper or not (shortest or limits)
    return (shortest or 0) <= ad.duration_s <= min(limits, default=ad.duration_s)
