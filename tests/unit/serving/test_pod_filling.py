"""Which ads share a pod."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import combinations
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import Competitors, Creative, PodPosition, Price, PriceModel
from app.serving.pod_filling import Candidate, PodAd, PodRoom, fill_pod
from tests.unit.serving.pending_requests import campaign, creative


def first(creatives: Sequence[Creative]) -> Creative:
    return creatives[0]


def own(name: str, *lengths_s: int, cpm: int = 1000, changes: dict[str, Any] | None = None, **terms: Any) -> Candidate:
    """A candidate with a creative for each length; `changes` are of all creatives."""
    sold = campaign(name, **{"price": Price(PriceModel.CPM, Decimal(cpm))} | terms)
    return Candidate(sold, [replace(creative(f"{name}{s}", name, s), **changes or {}) for s in lengths_s])


def names(ads: Sequence[PodAd]) -> list[str]:
    return [ad.creative.id if ad.creative else ad.campaign.id for ad in ads]


def filled(*candidates: Candidate, seconds: int | None = None, slots: int = 9, **room: Any) -> list[str]:
    if seconds is not None:
        room["time_ms"] = seconds * 1000
    return names(fill_pod(candidates, PodRoom(slots, **room), first))


class TestTime:
    def test_two_short_ads_are_worth_more_than_a_long_one(self) -> None:
        assert filled(own("a", 20), own("b", 15), own("c", 15), seconds=30) == ["b15", "c15"]

    def test_a_dear_ad_is_worth_more_than_two_cheap_ones(self) -> None:
        assert filled(own("a", 15), own("b", 20, cpm=3000), own("c", 15), seconds=30) == ["b20"]

    def test_if_there_is_time_for_all_the_order_decides(self) -> None:
        assert filled(own("a", 15), own("b", 15), own("c", 15, cpm=9000), seconds=30, slots=2) == ["a15", "b15"]
        assert filled(own("a", 15), own("b", 15), own("c", 15, cpm=9000), slots=2) == ["a15", "b15"]

    def test_of_equal_values_the_longer_one_is_chosen(self) -> None:
        assert filled(own("a", 20), own("b", 25), own("c", 15, cpm=0), seconds=30) == ["b25"]

    def test_of_equal_ads_the_first_are_chosen(self) -> None:
        assert filled(*(own(name, 15) for name in "abc"), seconds=30) == ["a15", "b15"]

    def test_prices_in_several_currencies_are_not_compared(self) -> None:
        yen = own("b", 20, cpm=9000, currency="JPY")
        assert filled(own("a", 15), yen, own("c", 15), seconds=30) == ["a15", "c15"]

    def test_prices_for_different_units_are_not_compared(self) -> None:
        by_click = own("b", 20, price=Price(PriceModel.CPC, Decimal(9000)))
        assert filled(own("a", 15), by_click, own("c", 15), seconds=30) == ["a15", "c15"]

    def test_each_campaign_uses_the_creative_that_fits_best(self) -> None:
        assert filled(own("a", 30, 15), own("b", 15), seconds=30) == ["a15", "b15"]

    def test_ads_of_upstreams_stay(self) -> None:
        assert filled(own("u"), own("a", 20), own("b", 15), own("c", 15), seconds=30) == ["u", "b15", "c15"]

    def test_no_more_candidates_are_read_than_are_needed(self) -> None:
        read = []

        def candidates() -> Any:
            for name in "abcdef":
                read.append(name)
                yield own(name, 15)

        assert names(fill_pod(candidates(), PodRoom(2), first)) == ["a15", "b15"]
        assert len(read) <= 3

    def test_a_hundred_candidates_take_little_time(self) -> None:
        many = [own(f"c{number}", 10 + number % 21, cpm=1000 + number % 7) for number in range(100)]
        began = process_time()
        for _ in range(100):
            fill_pod(many, PodRoom(6, 95_000), first)
        assert process_time() - began < 1, "each takes less than 10 ms even on a slow machine"


def test_a_lower_priority_displaces_nothing() -> None:
    house = [own("b", 15, cpm=9000, priority=9), own("c", 15, cpm=9000, priority=9)]
    assert filled(own("a", 20, priority=1), *house, seconds=30) == ["a20"]


def test_a_lower_priority_gets_what_is_left() -> None:
    sold = [own("a", 20), own("b", 15), own("c", 15)]
    assert filled(*sold, own("h", 10, cpm=0, priority=9), seconds=45) == ["a20", "b15", "h10"]


def test_competitors_do_not_share_a_pod() -> None:
    cars = {"categories": ("cars",)}
    assert filled(own("a", 15, **cars), own("b", 15, **cars), own("c", 15)) == ["a15", "c15"]


def test_competitors_do_not_share_a_pod_that_is_filled_for_its_value() -> None:
    cars = {"categories": ("cars",), "cpm": 9000}
    assert filled(own("a", 20), own("b", 15, **cars), own("c", 15, **cars), seconds=30) == ["b15"]


def test_a_pod_has_one_first_ad() -> None:
    rivals = [own(name, 15, changes={"position": PodPosition.FIRST}) for name in "ab"]
    assert filled(*rivals, own("c", 15)) == ["a15", "c15"]


class TestCompetitors:
    same = (own("a", 15, advertiser="Acme"), own("b", 15, advertiser="Acme"))
    alike = (own("a", 15, categories=("cars", "sports")), own("b", 15, categories=("news", "cars")))

    @pytest.mark.parametrize("rivals", [same, alike])
    @pytest.mark.parametrize("seconds", [None, 40])
    def test_they_do_not_share_a_pod(self, rivals: tuple[Candidate, ...], seconds: int | None) -> None:
        assert filled(*rivals, own("c", 15), own("d", 60), seconds=seconds, slots=2) == ["a15", "c15"]

    @pytest.mark.parametrize("rivals", [same, alike])
    def test_they_may_be_together(self, rivals: tuple[Candidate, ...]) -> None:
        assert filled(*rivals, competitors=Competitors.TOGETHER) == ["a15", "b15"]

    def test_the_dearest_of_them_is_chosen_if_time_is_short(self) -> None:
        rivals = (own("a", 30, categories=("cars",)), own("b", 15, categories=("cars",), cpm=2000))
        assert filled(*rivals, own("c", 15), seconds=30) == ["b15", "c15"]

    def test_an_upstream_has_competitors_too(self) -> None:
        assert filled(own("u", advertiser="Acme"), own("a", 15, advertiser="Acme"), own("b", 15)) == ["u", "b15"]


class TestAdsPerPod:
    def test_a_campaign_may_have_several_creatives_in_a_pod(self) -> None:
        assert filled(own("a", 15, 10, 20, ads_per_pod=2), own("b", 15)) == ["a15", "a10", "b15"]

    def test_no_creative_is_used_twice(self) -> None:
        assert filled(own("a", 15, ads_per_pod=3), own("b", 15)) == ["a15", "b15"]

    def test_the_best_fit_keeps_the_limit(self) -> None:
        assert filled(own("a", 20, 10, 11, 12, ads_per_pod=2), own("b", 40), seconds=45) == ["a20", "a12"]


class TestPositions:
    opening = own("o", 5, cpm=0, changes={"bumper": True})

    def test_a_bumper_needs_another_ad(self) -> None:
        assert filled(self.opening, own("a", 15)) == ["o5", "a15"]
        assert filled(self.opening) == []
        assert filled(self.opening, own("a", 30), seconds=30) == ["a30"]

    @pytest.mark.parametrize(
        "changes", [{"bumper": True}, {"position": PodPosition.FIRST}, {"position": PodPosition.LAST}]
    )
    @pytest.mark.parametrize("seconds", [None, 40])
    def test_a_position_is_taken_once(self, changes: dict[str, Any], seconds: int | None) -> None:
        rivals = [own(name, 5, changes=changes) for name in "ab"]
        assert filled(*rivals, own("c", 15), own("d", 60), seconds=seconds, slots=3)[:2] == ["a5", "c15"]

    def test_different_positions_share_a_pod(self) -> None:
        either = [own(position, 5, changes={"position": PodPosition(position)}) for position in ("last", "first")]
        assert filled(self.opening, *either, own("a", 15)) == ["o5", "last5", "first5", "a15"]


@st.composite
def pods(draw: st.DrawFn) -> tuple[list[Candidate], PodRoom]:
    candidates = [
        own(
            f"c{number}",
            *draw(st.lists(st.integers(5, 30), unique=True, min_size=1, max_size=2)),
            cpm=draw(st.integers(0, 4)),
            advertiser=draw(st.sampled_from("xyz")),
            categories=tuple(draw(st.sets(st.sampled_from("pq"), max_size=1))),
            ads_per_pod=draw(st.integers(1, 2)),
            changes={"position": draw(st.sampled_from(PodPosition))},
        )
        for number in range(draw(st.integers(1, 5)))
    ]
    room = PodRoom(draw(st.integers(1, 4)), draw(st.integers(5, 60)) * 1000, draw(st.sampled_from(Competitors)))
    return candidates, room


def is_allowed(ads: Sequence[PodAd], room: PodRoom) -> bool:
    for one, other in combinations(ads, 2):
        rivals = one.campaign.advertiser == other.campaign.advertiser or (
            set(one.campaign.categories) & set(other.campaign.categories)
        )
        if rivals and one.campaign is not other.campaign and room.competitors is Competitors.APART:
            return False
    positions = [ad.creative.position for ad in ads if ad.creative and ad.creative.position is not PodPosition.ANY]
    campaigns = [ad.campaign.id for ad in ads]
    return (
        len(ads) <= room.slots
        and len(positions) == len(set(positions))
        and sum(ad.creative.duration_s for ad in ads if ad.creative) * 1000 <= room.time_ms
        and all(campaigns.count(ad.campaign.id) <= ad.campaign.ads_per_pod for ad in ads)
    )


def worth(ads: Sequence[PodAd]) -> tuple[Decimal | int, int]:
    return sum(ad.campaign.price.amount for ad in ads), sum(ad.creative.duration_s for ad in ads if ad.creative)


def in_order(candidates: list[Candidate], room: PodRoom) -> list[PodAd] | None:
    """The ads if candidates take slots one after the other; None if one of them is left out for its length."""
    timeless = room._replace(time_ms=10**9)
    ads: list[PodAd] = []
    for sold, creatives in candidates:
        for _ in range(sold.ads_per_pod):
            more = [PodAd(sold, made) for made in creatives if all(ad.creative is not made for ad in ads)]
            fitting = [ad for ad in more if is_allowed([*ads, ad], room)]
            if fitting:
                ads.append(fitting[0])
            elif any(is_allowed([*ads, ad], timeless) for ad in more):
                return None
    return ads


@given(pods())
def test_candidates_take_slots_in_order_until_one_is_too_long_and_then_no_other_pod_is_worth_more(
    pod: tuple[list[Candidate], PodRoom],
) -> None:
    candidates, room = pod
    ads = fill_pod(candidates, room, first)
    assert is_allowed(ads, room)
    expected = in_order(candidates, room)
    if expected is not None:
        assert ads == expected
        return
    offered = [PodAd(candidate.campaign, made) for candidate in candidates for made in candidate.creatives]
    assert worth(ads) == max(
        worth(chosen)
        for count in range(room.slots + 1)
        for chosen in combinations(offered, count)
        if is_allowed(chosen, room)
    )
