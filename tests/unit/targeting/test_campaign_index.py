"""The index finds every campaign that the targeting of a request matches, and few others."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain import Catalog, Targeting
from app.targeting.campaign_index import CampaignIndex
from app.targeting.criteria import Facts
from app.targeting.matcher import TargetingMatcher
from app.targeting.viewer import UNKNOWN_VIEWER
from tests.unit.serving.pending_requests import FLIGHT, campaign, catalog

WORDS = ("a", "ab", "abc", "b", "c")
CRITERIA = ("countries", "placements", "pages", "keywords", "kv")

values = st.lists(st.sampled_from([*WORDS, "a*", "ab*", "c*"]), min_size=1, max_size=3, unique=True)
lists = st.dictionaries(st.sampled_from(CRITERIA), values, max_size=3).map(
    lambda table: {name: {"x": found} if name == "kv" else found for name, found in table.items()}
)
tables = st.builds(lambda table, excluded: table | {"not": excluded}, lists, st.just({}) | lists)
facts = st.dictionaries(
    st.sampled_from([*CRITERIA[:-1], "kv.x"]),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(tuple),
)


def targeted(*tables: dict[str, Any]) -> Catalog:
    return catalog(
        *(campaign(f"c{number}", targeting=Targeting.from_table(table)) for number, table in enumerate(tables))
    )


def found(known: Catalog, request: Facts) -> set[str]:
    matcher = TargetingMatcher(known)
    rules = {campaign_id: targeting.include for campaign_id, targeting in matcher.targeted.items()}
    index = CampaignIndex([*known.campaigns.values()], rules)
    return {member for tiers in index.find(request) for tier in tiers.values() for member in tier.members}


def matching(known: Catalog, request: Facts) -> set[str]:
    """The campaigns that accept the request when each is asked."""
    matcher = TargetingMatcher(known)
    return {
        campaign_id
        for campaign_id in known.campaigns
        if matcher.accepts(campaign_id, request, UNKNOWN_VIEWER, FLIGHT[0])
    }


@settings(deadline=None, max_examples=500)
@given(st.lists(tables, max_size=8), facts)
def test_no_matching_campaign_is_missed(of_campaigns: list[dict[str, Any]], request: Facts) -> None:
    known = targeted(*of_campaigns)
    assert matching(known, request) <= found(known, request)


def test_a_campaign_is_found_by_the_list_that_the_fewest_have() -> None:
    countries = [{"placements": ["p"], "countries": [country]} for country in ("de", "fr", "us")]
    assert found(targeted(*countries), {"placements": ("p",), "countries": ("fr",)}) == {"c1"}
    places = [{"placements": [place], "countries": ["de"]} for place in ("p", "q", "r")]
    assert found(targeted(*places), {"placements": ("r",), "countries": ("de",)}) == {"c2"}


def test_campaigns_without_a_list_are_always_found() -> None:
    known = targeted({}, {"not": {"countries": ["de"]}}, {"countries": ["fr"]})
    assert found(known, {"countries": ("de",)}) == {"c0", "c1"}


def test_campaigns_that_cannot_match_are_not_found_however_many_there_are() -> None:
    known = targeted(*({"placements": [f"p{number}"]} for number in range(10_000)))
    assert found(known, {"placements": ("p4711",), "countries": ("de",)}) == {"c4711"}


def test_a_value_with_an_asterisk_is_found_by_its_beginning() -> None:
    known = targeted({"pages": ["news.example/*"]}, {"pages": ["news.example/sport/*", "x"]}, {"pages": ["news.*"]})
    assert found(known, {"pages": ("news.example/culture",)}) == {"c0", "c2"}
    assert found(known, {"pages": ("news",)}) == set()
    assert found(known, {"pages": ("x",)}) == {"c1"}
