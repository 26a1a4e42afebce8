"""The candidate decision for the requests of a group."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from app.domain import (
    CapLevel,
    CapWindow,
    Catalog,
    Competitors,
    Creative,
    CreativeStatus,
    FrequencyCap,
    NoFillReason,
    WithoutUser,
    creative_counter,
)
from app.serving.choice import Choice
from app.serving.chooser import Chooser, pick_by_weight
from tests.unit.serving.pending_requests import USER, campaign, catalog, creative, pending_request

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
DAY_CAP = (FrequencyCap(3, CapWindow.DAY),)
SESSION_CAP = (FrequencyCap(3, CapWindow.SESSION),)
SESSION = UUID(int=9)
OTHER_SESSION = UUID(int=10)


def chosen(known: Catalog, *candidates: str, played: tuple[str, ...] = (), **request: Any) -> list[str]:
    """The creatives, or else the campaigns, that are chosen for a request alone."""
    choices = Chooser(known, NOW).choose(pending_request(*candidates, **request), played)
    assert choices is not None
    return [
        name for choice in choices for name in [creative.id for creative in choice.creatives] or [choice.campaign.id]
    ]


def test_one_slot_gets_the_first_candidate() -> None:
    assert chosen(catalog(campaign("a"), campaign("b")), "b", "a") == ["b"]


def test_a_candidate_that_is_refused_is_skipped() -> None:
    pending = pending_request("a", "b")
    pending.refuse("a", NoFillReason.BUDGET)
    (choice,) = Chooser(catalog(campaign("a"), campaign("b")), NOW).choose(pending, ()) or []
    assert choice.campaign.id == "b"


def test_only_the_candidates_of_the_lane_are_tried() -> None:
    pending = pending_request("a", "b")
    pending.plan_attempt(("b",), repeats_allowed=False)
    (choice,) = Chooser(catalog(campaign("a"), campaign("b")), NOW).choose(pending, ()) or []
    assert choice.campaign.id == "b"


def test_a_request_without_candidates_gets_no_choices_and_is_not_deferred() -> None:
    assert Chooser(catalog(), NOW).choose(pending_request(), ()) == []


def test_a_pod_with_too_few_ads_is_not_served() -> None:
    known = catalog(campaign("a"), campaign("b"))
    assert chosen(known, "a", "b", pod_size=3, min_ads=2) == ["a", "b"]
    pending = pending_request("a", "b", pod_size=3, min_ads=3)
    pending.plan_attempt(("a", "b"), repeats_allowed=True)
    assert Chooser(known, NOW).choose(pending, ()) == []
    assert pending.progress.refusals == dict.fromkeys("ab", NoFillReason.NO_CANDIDATE)


class TestPods:
    def test_each_slot_gets_another_campaign_in_priority_order(self) -> None:
        known = catalog(*(campaign(name) for name in "abc"))
        assert chosen(known, "a", "b", "c", pod_size=2) == ["a", "b"]

    def test_a_pod_is_shorter_if_there_are_too_few_candidates(self) -> None:
        assert chosen(catalog(campaign("a")), "a", pod_size=3) == ["a"]

    def test_a_campaign_is_one_choice_with_several_creatives(self) -> None:
        known = catalog(campaign("a", ads_per_pod=2), creatives=tuple(creative(name, "a") for name in "xyz"))
        (choice,) = Chooser(known, NOW).choose(pending_request("a", pod_size=3), ()) or []
        assert (len(set(choice.creatives)), choice.ads_max) == (2, 2)

    def test_competitors_may_be_together(self) -> None:
        known = catalog(campaign("a", advertiser="Acme"), campaign("b", advertiser="Acme"))
        assert chosen(known, "a", "b", pod_size=2) == ["a"]
        assert chosen(known, "a", "b", pod_size=2, competitors=Competitors.TOGETHER) == ["a", "b"]

    def test_an_advertiser_gets_one_slot(self) -> None:
        known = catalog(campaign("a", advertiser="Acme"), campaign("b", advertiser="Acme"), campaign("c"))
        assert chosen(known, "a", "b", "c", pod_size=3) == ["a", "c"]

    def test_creatives_fit_in_the_time_that_the_others_leave(self) -> None:
        known = catalog(
            *(campaign(name) for name in "abc"),
            creatives=(
                creative("a20", "a", 20),
                creative("b15", "b", 15),
                creative("b10", "b", 10),
                creative("c", "c"),
            ),
        )
        assert chosen(known, "a", "b", "c", pod_size=3, pod_duration_s=30) == ["a20", "b10"]

    def test_fractions_of_seconds_add_up_exactly(self) -> None:
        known = catalog(
            *(campaign(name) for name in "abc"),
            creatives=tuple(creative(name, name, Decimal("10.01")) for name in "abc"),
        )
        assert chosen(known, "a", "b", "c", pod_size=3, pod_duration_s=31) == ["a", "b", "c"]
        assert chosen(known, "a", "b", "c", pod_size=3, pod_duration_s=30) == ["a", "b"]

    def test_a_campaign_that_does_not_fit_beside_others_is_not_refused(self) -> None:
        known = catalog(campaign("a"), campaign("b"))
        pending = pending_request("a", "b", pod_size=2, pod_duration_s=20)
        assert len(Chooser(known, NOW).choose(pending, ()) or []) == 1
        assert pending.progress.refusals == {}

    def test_an_upstream_may_fill_all_slots_until_its_answer_is_known(self) -> None:
        known = catalog(campaign("a", upstreams=("u",)))
        pending = pending_request("a", pod_size=4)
        (choice,) = Chooser(known, NOW).choose(pending, ()) or []
        assert (choice.has_ad, choice.ads_max) == (False, 4)
        ads = [SimpleNamespace(sequence=sequence) for sequence in (1, 2, None)]
        pending.keep_ready_ad("a", SimpleNamespace(document=SimpleNamespace(ads=ads)))  # type: ignore[arg-type]
        (choice,) = Chooser(known, NOW).choose(pending, ()) or []
        assert (choice.has_ad, choice.ads_max) == (True, 2)


class TestDurations:
    @pytest.mark.parametrize(
        ("limits", "expected"),
        [
            ({"max_duration_s": 10}, ["c10"]),
            ({"min_duration_s": 20}, ["c20"]),
            ({"min_duration_s": 11, "max_duration_s": 19}, []),
            ({"pod_size": 2, "pod_duration_s": 12}, ["c10"]),
            ({"pod_size": 2, "pod_duration_s": 12, "min_duration_s": 11}, []),
        ],
    )
    def test_a_creative_suits_the_request(self, limits: dict[str, int], expected: list[str]) -> None:
        known = catalog(campaign("c"), creatives=(creative("c10", "c", 10), creative("c20", "c", 20)))
        assert chosen(known, "c", **limits) == expected

    def test_a_campaign_without_a_suitable_creative_is_refused(self) -> None:
        pending = pending_request("a", "b", max_duration_s=10)
        known = catalog(campaign("a"), campaign("b"), creatives=(creative("a", "a"), creative("b", "b", 10)))
        (choice,) = Chooser(known, NOW).choose(pending, ()) or []
        assert choice.campaign.id == "b"
        assert pending.progress.refusals == {"a": NoFillReason.NO_CANDIDATE}


class TestSessions:
    known = catalog(campaign("a"), creatives=(creative("x", "a"), creative("y", "a")))

    @pytest.mark.parametrize(("played", "expected"), [(("x",), ["y"]), (("y",), ["x"])])
    def test_a_creative_that_was_played_is_not_repeated(self, played: tuple[str, ...], expected: list[str]) -> None:
        for request_key in range(2):
            assert chosen(self.known, "a", played=played, request_key=UUID(int=request_key)) == expected

    def test_the_request_key_selects_among_creatives(self) -> None:
        both = [chosen(self.known, "a", request_key=UUID(int=request_key)) for request_key in range(2)]
        assert both == [["x"], ["y"]]

    def test_if_all_were_played_there_is_no_choice_and_no_refusal(self) -> None:
        pending = pending_request("a", session_id=SESSION)
        assert Chooser(self.known, NOW).choose(pending, ("x", "y")) == []
        assert pending.progress.refusals == {}

    def test_repeats_are_served_if_they_are_allowed(self) -> None:
        pending = pending_request("a", session_id=SESSION)
        pending.plan_attempt(("a",), repeats_allowed=True)
        assert len(Chooser(self.known, NOW).choose(pending, ("x", "y")) or []) == 1

    def test_a_second_request_of_a_session_is_deferred(self) -> None:
        chooser = Chooser(self.known, NOW)
        assert chooser.choose(pending_request("a", session_id=SESSION), ())
        assert chooser.choose(pending_request("a", session_id=SESSION), ()) is None
        assert chooser.choose(pending_request("a", session_id=OTHER_SESSION), ())

    def test_a_session_that_gets_nothing_holds_no_other_up(self) -> None:
        chooser = Chooser(self.known, NOW)
        assert chooser.choose(pending_request("a", session_id=SESSION), ("x", "y")) == []
        assert chooser.choose(pending_request("a", session_id=SESSION), ())


class TestCaps:
    known = catalog(campaign("a", frequency_caps=DAY_CAP), campaign("b", frequency_caps=DAY_CAP), campaign("free"))

    def choose(self, chooser: Chooser, *candidates: str, user_key: UUID | None) -> list[Choice] | None:
        return chooser.choose(pending_request(*candidates, user_key=user_key), ())

    def test_a_second_request_of_a_user_for_the_same_campaign_is_deferred(self) -> None:
        chooser = Chooser(self.known, NOW)
        assert self.choose(chooser, "a", user_key=USER)
        assert self.choose(chooser, "a", user_key=USER) is None
        assert self.choose(chooser, "b", user_key=USER), "another row of the same user"
        assert self.choose(chooser, "a", user_key=UUID(int=8)), "the same campaign for another user"

    def test_a_deferred_request_reserves_nothing(self) -> None:
        chooser = Chooser(self.known, NOW)
        assert self.choose(chooser, "a", user_key=USER)
        assert chooser.choose(pending_request("a", "b", user_key=USER, pod_size=2), ()) is None
        assert self.choose(chooser, "b", user_key=USER)

    def test_campaigns_without_caps_defer_no_request(self) -> None:
        chooser = Chooser(self.known, NOW)
        assert all(self.choose(chooser, "free", user_key=USER) for _ in range(3))

    def test_caps_of_a_session_are_counted_for_the_session(self) -> None:
        chooser = Chooser(
            catalog(campaign("a", frequency_caps=SESSION_CAP), campaign("b", frequency_caps=SESSION_CAP)), NOW
        )
        (choice,) = chooser.choose(pending_request("a", session_id=SESSION), ()) or []
        assert choice.counted

    @pytest.mark.parametrize(("identifiable", "reason"), [(True, NoFillReason.NO_USER), (False, NoFillReason.CONSENT)])
    def test_a_request_without_a_user_is_refused(self, *, identifiable: bool, reason: NoFillReason) -> None:
        pending = pending_request("a", identifiable=identifiable)
        assert Chooser(self.known, NOW).choose(pending, ()) == []
        assert pending.progress.refusals == {"a": reason}

    def test_a_session_cap_needs_a_session(self) -> None:
        pending = pending_request("a", user_key=USER)
        assert Chooser(catalog(campaign("a", frequency_caps=SESSION_CAP)), NOW).choose(pending, ()) == []
        assert pending.progress.refusals == {"a": NoFillReason.NO_USER}

    def test_a_campaign_may_serve_requests_without_a_user(self) -> None:
        known = catalog(campaign("a", frequency_caps=DAY_CAP, without_user=WithoutUser.SERVE))
        chooser = Chooser(known, NOW)
        assert all(self.choose(chooser, "a", user_key=None) for _ in range(2))


def life(creative_id: str, **values: Any) -> Creative:
    """A creative of the campaign `a`."""
    return replace(creative(creative_id, "a"), **values)


@pytest.mark.parametrize(
    ("values", "is_served"),
    [
        ({}, True),
        ({"status": CreativeStatus.PAUSED}, False),
        ({"status": CreativeStatus.ARCHIVED}, False),
        ({"starts_at": NOW}, True),
        ({"starts_at": NOW + timedelta(microseconds=1)}, False),
        ({"ends_at": NOW}, False),
        ({"ends_at": NOW + timedelta(microseconds=1)}, True),
    ],
)
def test_only_a_creative_that_runs_is_served(values: dict[str, Any], is_served: bool) -> None:
    known = catalog(campaign("a"), creatives=(life("x", **values),))
    assert chosen(known, "a") == (["x"] if is_served else [])
    known = catalog(campaign("a"), creatives=(life("x", **values), life("y")))
    found = {tuple(chosen(known, "a", request_key=UUID(int=number))) for number in range(50)}
    assert found == ({("x",), ("y",)} if is_served else {("y",)})


def test_creatives_are_chosen_as_often_as_their_weights_say() -> None:
    creatives = [life("a", weight=1), life("b", weight=2), life("c", weight=7)]
    picked = [pick_by_weight(creatives, number).id for number in range(1000)]
    assert {name: picked.count(name) for name in "abc"} == {"a": 100, "b": 200, "c": 700}


def test_a_viewing_session_plays_creatives_in_their_sequence() -> None:
    creatives = (life("a", sequence=2), life("b"), life("c", sequence=1))
    known = catalog(campaign("a"), creatives=creatives)
    played: list[str] = []
    for _ in creatives:
        played += chosen(known, "a", played=tuple(played), session_id=SESSION)
    assert played == ["c", "a", "b"]


COMPETITORS = catalog(
    campaign("cola", categories=("drinks",)),
    campaign("same-advertiser", advertiser="cola", categories=("drinks",)),
    campaign("lemonade", categories=("fruit", "drinks")),
    campaign("fetched", upstreams=("u",), categories=("drinks",)),
    campaign("cars", categories=("cars",)),
    campaign("plain"),
)


@pytest.mark.parametrize(
    ("candidate", "request_values", "is_served"),
    [
        ("cola", {}, True),
        ("same-advertiser", {}, True),
        ("lemonade", {}, False),
        ("fetched", {}, False),
        ("cars", {}, True),
        ("plain", {}, True),
        ("lemonade", {"competitors": Competitors.TOGETHER}, True),
    ],
)
@pytest.mark.parametrize("pod_size", [1, 2])
def test_in_a_session_another_advertiser_of_a_common_category_does_not_follow(
    candidate: str, request_values: dict[str, Any], pod_size: int, *, is_served: bool
) -> None:
    pending = pending_request(candidate, session_id=SESSION, pod_size=pod_size, **request_values)
    pending.join_session(None, "", ("cola", "a campaign that is gone"))
    assert bool(Chooser(COMPETITORS, NOW).choose(pending, ())) is is_served
    assert pending.progress.refusals == ({} if is_served else {candidate: NoFillReason.NO_CANDIDATE})


def test_the_next_candidate_is_served_instead_of_a_competitor() -> None:
    pending = pending_request("lemonade", "cars", session_id=SESSION)
    pending.join_session(None, "", ("cola",))
    (choice,) = Chooser(COMPETITORS, NOW).choose(pending, ()) or []
    assert choice.campaign.id == "cars"


ADVERTISER_CAP = (FrequencyCap(3, CapWindow.DAY, level=CapLevel.ADVERTISER),)


def test_one_group_counts_an_ad_for_a_user_and_a_shared_cap_once() -> None:
    capped = campaign("a", advertiser="Acme", frequency_caps=ADVERTISER_CAP)
    other = campaign("b", advertiser="Acme")
    chooser = Chooser(catalog(capped, other), NOW)
    assert chooser.choose(pending_request("a", user_key=USER), ())
    assert chooser.choose(pending_request("b", user_key=USER), ()) is None


def test_a_creative_that_reached_its_cap_is_not_chosen_again() -> None:
    known = catalog(campaign("a"), creatives=[creative("x", "a"), creative("y", "a")])
    pending = pending_request("a")
    pending.refuse(creative_counter("x"), NoFillReason.FREQUENCY_CAP)
    (choice,) = Chooser(known, NOW).choose(pending, ()) or []
    assert [creative.id for creative in choice.creatives] == ["y"]
    pending.refuse(creative_counter("y"), NoFillReason.FREQUENCY_CAP)
    assert Chooser(known, NOW).choose(pending, ()) == []
    assert pending.progress.refusals["a"] is NoFillReason.FREQUENCY_CAP
