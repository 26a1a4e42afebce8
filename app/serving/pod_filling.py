"""Fills the slots of a pod with the candidates of a request. Does no I/O.

Candidates take slots in their order as long as there is time for them. If one of them does not fit in the time that is
left, the time of its priority is filled for the most value instead (see `best_fit`). Candidates of a lower priority get
what the others leave.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import NamedTuple

from app.domain import Campaign, Competitors, Creative
from app.serving.best_fit import Item, Total, best_fit

SEARCHED_MAX = 100
"""Candidates of one priority, and creatives of these, among which the most valuable ones are searched."""

UNLIMITED_MS = 10**9
"""The time of a pod without a maximum duration."""

PRICE_UNITS = 1_000_000
"""Prices have at most six decimals, and are compared as integers."""

Pick = Callable[[Sequence[Creative]], Creative]
"""Picks one of the creatives of a campaign, by weight."""

CATEGORY = " category "
"""The beginning of the keys of categories; the id of an advertiser never begins with a space."""


class Candidate(NamedTuple):
    """A campaign that may take slots, and its creatives that suit the request; none if upstreams have its ads."""

    campaign: Campaign
    creatives: Sequence[Creative]


class PodAd(NamedTuple):
    """An ad of a pod; its creative is None if the upstreams of its campaign have it."""

    campaign: Campaign
    creative: Creative | None


class PodRoom(NamedTuple):
    """The room in a pod. `keys` and `orders` are those of its ads, which no other ad may have."""

    slots: int
    time_ms: int = UNLIMITED_MS
    competitors: Competitors = Competitors.APART
    keys: frozenset[str] = frozenset()
    orders: frozenset[int] = frozenset()

    def less(self, ads: Iterable[PodAd]) -> "PodRoom":
        """Return the room that these ads leave."""
        slots, time_ms, keys, orders = self.slots, self.time_ms, set(self.keys), set(self.orders)
        for campaign, creative in ads:
            slots -= 1
            if self.competitors is Competitors.APART:
                keys.update(competitor_keys(campaign))
            if creative is not None:
                time_ms -= duration_ms(creative)
                if creative.has_own_position:
                    orders.add(creative.pod_order)
        return self._replace(slots=slots, time_ms=time_ms, keys=frozenset(keys), orders=frozenset(orders))

    def admits(self, campaign: Campaign) -> bool:
        """Return whether there is a slot, and no competitor of the campaign."""
        return self.slots > 0 and (not self.keys or self.keys.isdisjoint(competitor_keys(campaign)))

    def with_free_position(self, creatives: Sequence[Creative]) -> Sequence[Creative]:
        """Return the creatives whose position in the pod is not taken."""
        if not self.orders:
            return creatives
        return [creative for creative in creatives if creative.pod_order not in self.orders]


def duration_ms(creative: Creative) -> int:
    """Return the duration of a creative in milliseconds."""
    return int(creative.duration_s * 1000)


def competitor_keys(campaign: Campaign) -> list[str]:
    """Return what competitors of the campaign have too: its advertiser, or one of its categories."""
    return [campaign.advertiser, *[CATEGORY + category for category in campaign.categories]]


def fill_pod(candidates: Iterable[Candidate], room: PodRoom, pick: Pick) -> list[PodAd]:
    """Return the ads for a pod, in the order of the candidates; a bumper only if there is another ad.

    The candidates are read only as far as there is room.
    """
    read: list[Candidate] = []
    ads = _fill(_recorded(candidates, read), room, pick)
    if len(ads) == 1 and ads[0].creative is not None and ads[0].creative.bumper:
        return _fill(_without_bumpers(read), room, pick)
    return ads


def _recorded(candidates: Iterable[Candidate], read: list[Candidate]) -> Iterator[Candidate]:
    for candidate in candidates:
        read.append(candidate)
        yield candidate


def _without_bumpers(candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    for campaign, creatives in candidates:
        others = [creative for creative in creatives if not creative.bumper]
        if others or not creatives:
            yield Candidate(campaign, others)


def _fill(candidates: Iterable[Candidate], room: PodRoom, pick: Pick) -> list[PodAd]:
    ads: list[PodAd] = []
    for _, of_priority in groupby(candidates, lambda candidate: candidate.campaign.priority):
        ads += _fill_priority(of_priority, room.less(ads), pick)
        if len(ads) == room.slots:
            break
    return ads


def _fill_priority(candidates: Iterable[Candidate], room: PodRoom, pick: Pick) -> list[PodAd]:
    """Return the ads of candidates of one priority."""
    read: list[Candidate] = []
    ads: list[PodAd] = []
    left, has_misfit = room, False
    for candidate in candidates:
        if len(read) >= SEARCHED_MAX if has_misfit else left.slots == 0:
            break
        read.append(candidate)
        added, is_misfit = _in_order(candidate, left, pick)
        if added:
            ads += added
            left = left.less(added)
        has_misfit |= is_misfit
    if not has_misfit:
        return ads
    fetched = [ad for ad in ads if ad.creative is None]
    own = [ad for ad in ads if ad.creative is not None]
    better = _more_valuable(read, room.less(fetched), pick, own)
    if better is None:
        return ads
    order = {candidate.campaign.id: index for index, candidate in enumerate(read)}
    return sorted([*fetched, *better], key=lambda ad: order[ad.campaign.id])


def _in_order(candidate: Candidate, room: PodRoom, pick: Pick) -> tuple[list[PodAd], bool]:
    """Return the candidate's ads as far as there is room, and whether only the time kept one of them out."""
    campaign, creatives = candidate
    ads: list[PodAd] = []
    if not room.admits(campaign):
        return ads, False
    if not creatives:
        return [PodAd(campaign, None)], False
    for _ in range(min(campaign.ads_per_pod, room.slots)):
        left = room.less(ads) if ads else room
        usable = left.with_free_position(creatives)
        fitting = [creative for creative in usable if duration_ms(creative) <= left.time_ms]
        if not fitting:
            return ads, bool(usable)
        picked = pick(fitting)
        ads.append(PodAd(campaign, picked))
        creatives = [creative for creative in creatives if creative is not picked]
    return ads, False


def _more_valuable(
    candidates: Sequence[Candidate], room: PodRoom, pick: Pick, present: Sequence[PodAd]
) -> list[PodAd] | None:
    """Return the most valuable ads with own creatives for a room; None if the present ones are as good."""
    if room.slots == 0:
        return None
    admitted = [candidate for candidate in candidates if candidate.creatives and room.admits(candidate.campaign)]
    options = _Options(admitted, room)
    for index, (campaign, creatives) in enumerate(admitted):
        options.add(index, _alternatives(room.with_free_position(creatives), campaign.ads_per_pod, pick))
    found = best_fit(
        options.items,
        [candidate.campaign.ads_per_pod for candidate in admitted],
        room=room.time_ms,
        slots=room.slots,
        better_than=options.total(present),
    )
    return None if found is None else [options.ads[index] for index in found]


def _alternatives(creatives: Sequence[Creative], ads_max: int, pick: Pick) -> Iterable[Creative]:
    """Return creatives that differ in duration or position, and of those that do not, as many as may be used."""
    return creatives if len(creatives) == 1 else _different(creatives, ads_max, pick)


def _different(creatives: Sequence[Creative], ads_max: int, pick: Pick) -> Iterator[Creative]:
    alike: dict[tuple[int, int], list[Creative]] = {}
    for creative in creatives:
        alike.setdefault((duration_ms(creative), creative.pod_order), []).append(creative)
    for same in alike.values():
        for _ in range(min(ads_max, len(same))):
            yield (picked := pick(same))
            same.remove(picked)


class _Options:
    """Ads as items of a best fit."""

    def __init__(self, candidates: Sequence[Candidate], room: PodRoom) -> None:
        self._candidates = candidates
        self._keys = [competitor_keys(candidate.campaign) for candidate in candidates]
        # Prices in different currencies, or for different units, cannot be compared.
        units = [(candidate.campaign.currency, candidate.campaign.price.model) for candidate in candidates]
        self._is_priced = units[1:] == units[:-1]
        self._competitors: dict[str, int] = {}
        """Bits of the candidates by what competitors have in common."""
        if room.competitors is Competitors.APART:
            for index, keys in enumerate(self._keys):
                for key in keys:
                    self._competitors[key] = self._competitors.get(key, 0) | 1 << index
        self.ads: list[PodAd] = []
        self.items: list[Item] = []

    def add(self, index: int, creatives: Iterable[Creative]) -> None:
        """Add an ad of a candidate for each of these creatives, up to `SEARCHED_MAX` ads in all."""
        campaign, own = self._candidates[index].campaign, 1 << index
        competitors = 0
        for key in self._keys[index]:
            competitors |= self._competitors.get(key, 0)
        competitors &= ~own
        value = self._value(campaign)
        for creative in islice(creatives, SEARCHED_MAX - len(self.items)):
            position = 1 << len(self._candidates) + creative.pod_order if creative.has_own_position else 0
            self.ads.append(PodAd(campaign, creative))
            self.items.append(Item(value, duration_ms(creative), index, own | position, competitors | position))

    def total(self, ads: Sequence[PodAd]) -> Total:
        """Return the value and the length of these ads."""
        return sum(self._value(ad.campaign) for ad in ads), sum(
            duration_ms(ad.creative) for ad in ads if ad.creative is not None
        )

    def _value(self, campaign: Campaign) -> int:
        return int(campaign.price.amount * PRICE_UNITS) if self._is_priced else 0
