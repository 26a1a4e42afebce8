"""Which requests the targeting of a campaign accepts."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from app.campaign_file.targeting_table import TargetingTable
from app.domain import AdRequest, Placement
from app.targeting.criteria import read_facts
from app.targeting.matcher import CompiledTargeting, TargetingMatcher
from app.targeting.viewer import UNKNOWN_VIEWER, Viewer
from app.web.query import read_query
from tests.unit.serving.pending_requests import campaign, catalog

NOW = datetime(2026, 11, 30, 12, 30, tzinfo=UTC)  # a Monday
VIEWER = Viewer("US", "US-CA", "San Diego", "America/Los_Angeles", "ctv", "tizen", "chrome", ("en-us", "de"))
QUERY = (
    "page_url=https://News.example/sport/tennis?id=1&app_bundle=com.Example.tv&content_genre=Sport"
    "&keywords=Tennis,%20US%20Open&kv.section=sport,live&kv.Paid=yes"
)


def accepts(table: dict[str, Any], query: str = QUERY, viewer: Viewer = VIEWER, now: datetime = NOW) -> bool:
    targeting = TargetingTable.model_validate(table).to_domain()
    request = AdRequest(placement_id="preroll", values=read_query(query.encode()))
    return CompiledTargeting(targeting, "Europe/Berlin").accepts(read_facts(request, viewer, "tv"), viewer, now)


MATCHING = [
    {"countries": ["DE", "USA"]},
    {"regions": ["US-CA"]},
    {"cities": ["san diego"]},
    {"device_types": ["CTV"]},
    {"os": ["Tizen"]},
    {"browsers": ["Chrome"]},
    {"languages": ["en"]},
    {"languages": ["de-AT", "de"]},
    {"placements": ["preroll"]},
    {"publishers": ["tv"]},
    {"pages": ["https://news.example/sport/*"]},
    {"pages": ["news.example/sport/tennis?id=1"]},
    {"apps": ["com.example.tv"]},
    {"apps": ["com.example.*"]},
    {"content_genres": ["sport"]},
    {"keywords": ["us open", "golf"]},
    {"kv": {"section": ["live"]}},
    {"kv": {"section": ["sport"], "paid": ["yes"]}},
]
OTHER = [
    {"countries": ["DE"]},
    {"regions": ["US-NY"]},
    {"cities": ["paris"]},
    {"device_types": ["mobile"]},
    {"os": ["android"]},
    {"browsers": ["safari"]},
    {"languages": ["en-GB"]},
    {"placements": ["Preroll"]},
    {"publishers": ["radio"]},
    {"pages": ["https://news.example/sport/"]},
    {"pages": ["https://news.example/culture/*"]},
    {"apps": ["com.example"]},
    {"content_genres": ["news"]},
    {"keywords": ["tenni"]},
    {"kv": {"section": ["culture"]}},
    {"kv": {"section": ["sport"], "paid": ["no"]}},
    {"kv": {"other": ["x"]}},
]


@pytest.mark.parametrize("table", MATCHING)
def test_a_request_with_one_of_the_values_matches(table: dict[str, Any]) -> None:
    assert accepts(table)
    assert not accepts({"not": table})


@pytest.mark.parametrize("table", OTHER)
def test_a_request_with_other_values_does_not(table: dict[str, Any]) -> None:
    assert not accepts(table)
    if len(table.get("kv", {})) < 2:
        assert accepts({"not": table})


@pytest.mark.parametrize("table", [table for table in MATCHING if not {"placements", "publishers"} & table.keys()])
def test_what_is_not_known_matches_no_list_and_breaks_no_exclusion(table: dict[str, Any]) -> None:
    assert not accepts(table, "", UNKNOWN_VIEWER)
    assert accepts({"not": table}, "", UNKNOWN_VIEWER)


def test_all_lists_must_match() -> None:
    assert accepts({"countries": ["US"], "os": ["tizen"], "not": {"keywords": ["golf"]}})
    assert not accepts({"countries": ["US"], "os": ["android"]})
    assert not accepts({"countries": ["US"], "not": {"keywords": ["tennis"]}})


@pytest.mark.parametrize(
    ("daypart", "moment", "accepted"),
    [
        ({"days": ["mon"], "from_hour": 13, "until_hour": 14}, "2026-11-30T12:00Z", True),
        ({"days": ["mon"], "from_hour": 13, "until_hour": 14}, "2026-11-30T12:59:59.999Z", True),
        ({"days": ["mon"], "from_hour": 13, "until_hour": 14}, "2026-11-30T13:00Z", False),
        ({"days": ["mon"], "from_hour": 13, "until_hour": 14}, "2026-12-01T12:00Z", False),
        ({"days": ["mon"]}, "2026-11-29T23:00Z", True),
        ({"days": ["sun"]}, "2026-11-29T23:00Z", False),
        ({"from_hour": 23}, "2026-11-29T22:30Z", True),
        ({"until_hour": 1}, "2026-11-29T23:30Z", True),
    ],
)
def test_dayparts_are_hours_of_the_campaigns_timezone(daypart: dict[str, Any], moment: str, accepted: bool) -> None:
    assert accepts({"dayparts": [daypart]}, now=datetime.fromisoformat(moment)) is accepted


def test_dayparts_can_go_by_the_viewers_clock_where_it_is_known() -> None:
    table = {"dayparts": [{"from_hour": 4, "until_hour": 5}], "daypart_clock": "viewer"}
    assert accepts(table)
    assert not accepts(table, viewer=UNKNOWN_VIEWER)
    assert not accepts(table, viewer=VIEWER._replace(timezone="Not/A_Zone"))


def test_only_campaigns_with_targeting_can_be_refused() -> None:
    abroad = TargetingTable.model_validate({"countries": ["FR"]}).to_domain()
    matcher = TargetingMatcher(catalog(campaign("everywhere"), campaign("abroad", targeting=abroad)))
    request = AdRequest(placement_id="p")
    assert matcher.refused(request, VIEWER, ("everywhere", "abroad", "gone"), lambda: NOW) == ["abroad"]
    assert matcher.refused(request, VIEWER, ("everywhere",), lambda: NOW) == []


def test_a_placement_with_a_list_blocks_advertisers_and_categories() -> None:
    campaigns = campaign("rival"), campaign("bets", categories=("IAB1", "IAB9")), campaign("fine", categories=("IAB1",))
    ids = tuple(made.id for made in campaigns)
    placement = Placement("p", "tv", ids, blocked_advertisers=("rival",), blocked_categories=("IAB9",))
    matcher = TargetingMatcher(replace(catalog(*campaigns), placements={"p": placement}))
    assert matcher.refused(AdRequest(placement_id="p"), VIEWER, ids, lambda: NOW) == ["rival", "bets"]
    assert matcher.refused(AdRequest(placement_id="q"), VIEWER, ids, lambda: NOW) == []


def test_the_targeting_of_campaigns_that_did_not_change_is_not_compiled_again() -> None:
    abroad = TargetingTable.model_validate({"countries": ["FR"]}).to_domain()
    before = TargetingMatcher(catalog(campaign("same", targeting=abroad), campaign("other", targeting=abroad)))
    changed = campaign("other", targeting=TargetingTable.model_validate({"countries": ["US"]}).to_domain())
    after = TargetingMatcher(catalog(before.catalog.campaigns["same"], changed), before)
    assert after.targeted["same"] is before.targeted["same"]
    assert after.refused(AdRequest(), VIEWER, ("same", "other"), lambda: NOW) == ["same"]


def test_blocks_hold_beside_targeting() -> None:
    abroad = TargetingTable.model_validate({"countries": ["FR"]}).to_domain()
    campaigns = campaign("rival"), campaign("abroad", targeting=abroad), campaign("fine")
    ids = tuple(made.id for made in campaigns)
    placement = Placement("p", "tv", ids, blocked_advertisers=("rival",))
    matcher = TargetingMatcher(replace(catalog(*campaigns), placements={"p": placement}))
    assert matcher.refused(AdRequest(placement_id="p"), VIEWER, ids, lambda: NOW) == ["rival", "abroad"]
