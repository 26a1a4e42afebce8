"""The order in which campaigns are tried in a targeted placement."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain import Budget, BudgetPeriod, Campaign, CampaignStatus, Pacing, Placement, Targeting
from app.serving.keys import new_request_key
from app.serving.limits import CANDIDATES_MAX
from app.serving.pace import Pace
from app.serving.targeted_candidates import Draws, TargetedCandidates, draw_by_weight
from app.targeting.campaign_index import CampaignIndex
from app.targeting.criteria import Facts
from app.targeting.matcher import TargetingMatcher
from app.targeting.viewer import UNKNOWN_VIEWER
from tests.unit.serving.pending_requests import FLIGHT, campaign, catalog
from tests.unit.targeting.test_campaign_index import facts, tables

PREROLL = Placement("preroll", "tv", "targeted")
REQUESTS = 100_000
WEIGHTS = {"small": 1, "middle": 2, "big": 7}
GOAL: dict[str, Any] = {"budgets": {BudgetPeriod.LIFETIME: Budget(impressions=1000)}}
NOW = FLIGHT[0]


def chosen(
    *campaigns: Campaign,
    request: Facts | None = None,
    placement: Placement = PREROLL,
    behind: dict[str, float] | None = None,
    seed: int = 0,
) -> tuple[str, ...]:
    candidates = TargetedCandidates(TargetingMatcher(catalog(*campaigns)))
    return candidates.choose(placement, request or {}, UNKNOWN_VIEWER, NOW, seed, Pace(behind or {}), CANDIDATES_MAX)


def targeting(**criteria: Any) -> Targeting:
    return Targeting.from_table(criteria)


@pytest.mark.parametrize("seed", range(20))
def test_a_lower_priority_number_comes_first(seed: int) -> None:
    ranks = {"house": 10, "standard": 5, "sponsor": 1, "guaranteed": 3}
    campaigns = [campaign(name, priority=priority, weight=priority) for name, priority in ranks.items()]
    assert chosen(*campaigns, seed=seed) == ("sponsor", "guaranteed", "standard", "house")


def test_within_a_priority_the_first_is_drawn_by_weight() -> None:
    known = catalog(*(campaign(name, weight=weight) for name, weight in WEIGHTS.items()))
    candidates = TargetedCandidates(TargetingMatcher(known))
    seeds = (new_request_key().int for _ in range(REQUESTS))
    firsts = Counter(candidates.choose(PREROLL, {}, UNKNOWN_VIEWER, NOW, seed, Pace({}), 1)[0] for seed in seeds)
    for name, weight in WEIGHTS.items():
        assert firsts[name] / REQUESTS == pytest.approx(weight / sum(WEIGHTS.values()), abs=0.01)


@pytest.mark.parametrize("copies", [1, 3])
def test_all_orders_are_as_likely_as_drawing_one_after_the_other(copies: int) -> None:
    """Many campaigns are drawn otherwise than few, and those of several lists of the index must not be drawn more."""
    names = {f"{name}{copy}": weight for name, weight in WEIGHTS.items() for copy in range(copies)}
    campaigns = [
        campaign(name, weight=weight, targeting=targeting(keywords=["a", "b"] if "big" in name else ["b"]))
        for name, weight in names.items()
    ]
    rules = {made.id: TargetingMatcher(catalog(made)).targeted[made.id].include for made in campaigns}
    tiers = [found[5] for found in CampaignIndex(campaigns, rules).find({"keywords": ("a", "b")})]
    seconds: Counter[str] = Counter()
    for seed in range(REQUESTS // 5):
        first, second, *_ = draw_by_weight(tiers, Draws(seed))
        if first == "big0":
            seconds[second] += 1
    rest = sum(names.values()) - names["big0"]
    for name, weight in names.items():
        if name != "big0":
            assert seconds[name] / seconds.total() == pytest.approx(weight / rest, abs=0.02)


def test_a_retry_tries_the_campaigns_in_the_same_order() -> None:
    campaigns = [campaign(f"c{number}") for number in range(20)]
    key = new_request_key()
    assert chosen(*campaigns, seed=key.int) == chosen(*campaigns, seed=key.int)
    assert chosen(*campaigns, seed=key.int) != chosen(*campaigns, seed=new_request_key().int)


def test_who_is_furthest_behind_its_goal_comes_first_and_who_is_ahead_comes_last() -> None:
    goals = [campaign(name, **GOAL) for name in ("ahead", "behind", "far_behind", "new")]
    order = chosen(*goals, campaign("other"), behind={"ahead": -0.1, "behind": 0.1, "far_behind": 0.2})
    assert order == ("far_behind", "behind", "other", "new", "ahead")


def test_a_goal_does_not_come_before_a_higher_priority() -> None:
    assert chosen(campaign("goal", **GOAL), campaign("sponsor", priority=1), behind={"goal": 0.9}) == (
        "sponsor",
        "goal",
    )


@pytest.mark.parametrize(
    ("terms", "has_goal"),
    [
        ({}, False),
        (GOAL, True),
        ({"budgets": {BudgetPeriod.DAY: Budget(impressions=9)}}, False),
        ({"budgets": {BudgetPeriod.DAY: Budget(impressions=9)}, "pacing": Pacing.EVEN}, True),
        ({"budgets": {BudgetPeriod.HOUR: Budget(impressions=9)}, "pacing": Pacing.EVEN}, False),
        ({"pacing": Pacing.EVEN}, False),
    ],
)
def test_a_goal_is_what_is_due_over_time(terms: dict[str, Any], has_goal: bool) -> None:
    assert campaign("c", **terms).has_goal is has_goal


def test_what_cannot_serve_is_no_candidate() -> None:
    later, over = campaign("later"), campaign("over")
    later = replace(later, starts_at=NOW + timedelta(seconds=1))
    over = replace(over, starts_at=NOW - timedelta(days=1), ends_at=NOW)
    paused = campaign("paused", status=CampaignStatus.PAUSED)
    abroad = campaign("abroad", targeting=targeting(countries=["fr"]))
    assert chosen(later, over, paused, abroad, campaign("fine"), request={"countries": ("de",)}) == ("fine",)


def test_a_placement_blocks_advertisers_and_categories() -> None:
    blocking = replace(PREROLL, blocked_advertisers=("rival",), blocked_categories=("IAB9",))
    campaigns = campaign("rival"), campaign("bets", categories=("IAB1", "IAB9")), campaign("fine", categories=("IAB1",))
    assert chosen(*campaigns, placement=blocking) == ("fine",)


def test_at_most_a_number_of_campaigns_is_tried() -> None:
    assert len(set(chosen(*(campaign(f"c{number}") for number in range(CANDIDATES_MAX + 9))))) == CANDIDATES_MAX


@settings(deadline=None)
@given(st.lists(st.tuples(tables, st.integers(1, 3), st.booleans()), max_size=CANDIDATES_MAX), facts)
def test_every_campaign_that_matches_is_tried_once(made: list[tuple[Any, int, bool]], request: Facts) -> None:
    campaigns = [
        campaign(f"c{number}", targeting=Targeting.from_table(table), priority=priority, **(GOAL if is_goal else {}))
        for number, (table, priority, is_goal) in enumerate(made)
    ]
    matcher = TargetingMatcher(catalog(*campaigns))
    matching = [made.id for made in campaigns if matcher.accepts(made.id, request, UNKNOWN_VIEWER, NOW)]
    assert sorted(chosen(*campaigns, request=request)) == sorted(matching)
