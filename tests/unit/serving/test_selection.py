"""Which Ads of upstreams' documents are served, by the rules of VAST 4.2 section 3.3.1."""

from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import Creative, NoFillReason
from app.serving.choice import Choice, Selection
from app.serving.pending import PendingRequest
from app.serving.selection import select
from tests.unit.serving.pending_requests import campaign, pending_request


@dataclass(frozen=True)
class Ad:
    """The facts of one Ad."""

    position: int
    sequence: int | None = None
    duration_s: Decimal | None = Decimal(15)
    is_wrapper: bool = False
    advertiser: str | None = None
    creative_ids: frozenset[str] = frozenset()


def own(pending: PendingRequest, name: str = "own", duration_s: Decimal = Decimal(15)) -> Choice:
    return Choice(
        pending, campaign(name), f"{name} Inc.", (Creative(name, name, name, duration_s, ()),), None, counted=False
    )


def fetched(
    pending: PendingRequest, *ads: Ad, name: str = "up", allowed: int | None = None, fits_pods: bool = True
) -> Choice:
    answer = SimpleNamespace(document=SimpleNamespace(ads=ads, fits_pods=fits_pods))
    choice = Choice(pending, campaign(name), f"{name} Inc.", (), answer, counted=True, ads_max=pending.request.pod_size)
    if allowed is not None:
        choice.short_windows["c", "day"] = allowed
    return choice


def positions(selected: list[Selection], name: str = "up") -> list[int]:
    return [selection.position for selection in selected if selection.choice.campaign.id == name]


POD = (Ad(0, 2), Ad(1, 1), Ad(2, 3))
BUFFET = (Ad(0), Ad(1), Ad(2))


@pytest.mark.parametrize(
    ("ads", "expected"),
    [
        (BUFFET, [0]),
        (POD, [1]),
        ((Ad(0, 1), Ad(1, 2), Ad(2)), [2]),
        ((Ad(0, duration_s=60), Ad(1)), [1]),
        ((Ad(0, 1, duration_s=60), Ad(1, 2)), [1]),
        ((Ad(0, duration_s=60), Ad(1, 1)), [1]),
        ((Ad(0, duration_s=None), Ad(1)), [1]),
        ((Ad(0, duration_s=None, is_wrapper=True), Ad(1)), [0]),
        ((Ad(0, duration_s=60), Ad(1, duration_s=None)), []),
    ],
)
def test_who_asks_for_no_pod_gets_one_ad(ads, expected):
    asked = pending_request(max_duration_s=30)
    assert positions(select([fetched(asked, *ads)])) == expected
    assert asked.progress.refusals == ({} if expected else {"up": NoFillReason.NO_CANDIDATE})


@pytest.mark.parametrize(
    ("ads", "pod_size", "expected"),
    [
        (POD, 3, [1, 0, 2]),
        (POD, 2, [1, 0]),
        (POD, 9, [1, 0, 2]),
        (BUFFET, 3, [0]),
        ((Ad(0, 1), Ad(1, 2), Ad(2), Ad(3)), 9, [0, 1]),
        ((Ad(0, 1), Ad(1, 2, duration_s=90), Ad(2), Ad(3)), 9, [0, 2]),
        ((Ad(0, 1, duration_s=90), Ad(1, 2, duration_s=90), Ad(2), Ad(3, duration_s=90)), 9, [2]),
        ((Ad(0, 1, duration_s=90), Ad(1, 2)), 9, [1]),
    ],
)
def test_a_pod_fills_slots_in_its_order_and_stand_alone_ads_are_substitutes(ads, pod_size, expected):
    selected = select([fetched(pending_request(pod_size=pod_size, max_duration_s=30), *ads)])
    assert positions(selected) == expected
    assert [selection.slot for selection in selected] == list(range(len(expected)))


def test_own_creatives_and_pods_fill_the_slots_in_priority_order():
    asked = pending_request(pod_size=3)
    selected = select([own(asked, "first"), fetched(asked, *POD), own(asked, "last")])
    assert [selection.choice.campaign.id for selection in selected] == ["first", "up", "up"]
    assert asked.progress.refusals == {}


@pytest.mark.parametrize(("pod_duration_s", "expected"), [(30, [1, 0]), (29, [1]), (14, [])])
def test_a_pod_is_no_longer_than_asked_for(pod_duration_s, expected):
    assert positions(select([fetched(pending_request(pod_size=9, pod_duration_s=pod_duration_s), *POD)])) == expected


def test_an_own_creative_stays_out_where_an_upstream_has_taken_its_room():
    asked = pending_request(pod_size=2, pod_duration_s=40)
    selected = select([fetched(asked, Ad(0, duration_s=30)), own(asked)])
    assert positions(selected) == [0]
    assert positions(selected, "own") == []
    assert asked.progress.refusals == {}


def test_the_room_is_exact_where_own_ads_and_those_of_upstreams_have_fractions_of_seconds():
    asked = pending_request(pod_size=3, pod_duration_s=30)
    choices = [own(asked, "first", Decimal("10.01")), fetched(asked, Ad(0, duration_s=Decimal("9.98")))]
    selected = select([*choices, own(asked, "last", Decimal("10.01"))])
    assert [selection.choice.campaign.id for selection in selected] == ["first", "up", "last"]


def test_no_more_ads_than_the_caps_have_counted():
    assert positions(select([fetched(pending_request(pod_size=9), *POD, allowed=2)])) == [1, 0]


def test_an_ad_of_an_advertiser_or_creative_that_another_slot_has_stays_out_of_a_pod():
    asked = pending_request(pod_size=9)
    alike = (
        Ad(0, 1, advertiser="own Inc."),
        Ad(1, 2, creative_ids=frozenset("x")),
        Ad(2, 3, creative_ids=frozenset("x")),
    )
    selected = select(
        [own(asked), fetched(asked, *alike), fetched(asked, Ad(7, creative_ids=frozenset("x")), name="b")]
    )
    assert positions(selected) == [1, 2], "those of one document were put together by its upstream"
    assert positions(selected, "b") == []


def test_an_ad_that_cannot_be_converted_stays_out_of_a_pod():
    asked = pending_request(pod_size=2)
    assert select([fetched(asked, Ad(0), fits_pods=False)]) == []
    assert asked.progress.refusals == {"up": NoFillReason.NO_CANDIDATE}


LENGTHS = st.sampled_from([None, 5.0, 15.0, 30.0])
ADS = st.lists(
    st.builds(lambda number, length: (number, length), st.one_of(st.none(), st.integers(1, 4)), LENGTHS), max_size=6
).map(lambda drawn: tuple(Ad(at, number, length, length is None) for at, (number, length) in enumerate(drawn)))


@given(
    st.lists(st.one_of(ADS, st.integers(1, 40)), min_size=1, max_size=4),
    st.integers(1, 5),
    st.one_of(st.none(), st.integers(1, 60)),
    st.integers(1, 4),
)
def test_whatever_upstreams_answer_no_limit_is_passed(answers, pod_size, pod_duration_s, allowed):
    asked = pending_request(pod_size=pod_size, **({} if pod_duration_s is None else {"pod_duration_s": pod_duration_s}))
    room_s = pod_duration_s or 40
    choices = [
        own(asked, f"c{index}", min(answer, room_s))
        if isinstance(answer, int)
        else fetched(asked, *answer, name=f"c{index}", allowed=allowed)
        for index, answer in enumerate(answers)
    ][: max(1, pod_size)]
    selected = select(choices)
    assert len(selected) <= pod_size
    assert [selection.slot for selection in selected] == list(range(len(selected)))
    assert len({(selection.choice.campaign.id, selection.position) for selection in selected}) == len(selected)
    length_s = 0.0
    for selection in selected:
        if selection.creative is not None:
            length_s += selection.creative.duration_s
        else:
            length_s += selection.choice.fetched.document.ads[selection.position].duration_s or 0
    if pod_duration_s is not None:
        assert length_s <= pod_duration_s
    for choice in choices:
        assert len(positions(selected, choice.campaign.id)) <= choice.ads_allowed
    assert selected or asked.progress.refusals, "what got nothing must not be asked for again"
