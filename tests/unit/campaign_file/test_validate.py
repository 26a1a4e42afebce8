"""Validation of a draft against the catalog: orders and their campaigns, and the cost of a large file."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from app.campaign_file.parser import read_draft
from app.campaign_file.validate import CatalogIndex, find_faults, missing_advertisers, missing_publishers
from app.domain import Advertiser, CatalogItem, Publisher
from tests.unit.campaign_file.examples import Document, document, ordered, spoiled

MANY = 100


class Locations(dict[tuple[type[CatalogItem], str], str]):
    """Counts iterations over the whole mapping."""

    iterations = 0

    def __iter__(self) -> Iterator[tuple[type[CatalogItem], str]]:
        self.iterations += 1
        return super().__iter__()


def test_locations_of_many_campaigns_without_ads_are_iterated_once() -> None:
    campaign = document()["campaigns"][0]
    draft = read_draft("test.toml", {"campaigns": [{**campaign, "id": str(number)} for number in range(MANY)]})
    locations = Locations(draft.locations)
    found = find_faults(replace(draft, locations=locations), CatalogIndex({}))
    assert [fault.key for fault in found] == [f"campaigns[{number}].upstreams" for number in range(MANY)]
    assert locations.iterations == 1


def current(changed: Document | None = None) -> CatalogIndex:
    """The index of a database in which the file was applied."""
    return CatalogIndex({}).with_draft(read_draft("test.toml", ordered() if changed is None else changed))


def found(changed: Document, index: CatalogIndex) -> list[tuple[str, str]]:
    return [(fault.key, fault.reason) for fault in find_faults(read_draft("test.toml", changed), index)]


def test_the_example_has_no_fault() -> None:
    assert found(ordered(), CatalogIndex({})) == []
    assert found(ordered(), current()) == []


OVERLAY = {"id": "over", "time_offset": "#1", "break_type": "nonlinear", "placement_id": "overlays"}


def test_a_break_that_is_not_linear_needs_campaigns_with_upstreams() -> None:
    changed = document()
    overlays = {"id": "overlays", "publisher_id": "tv", "campaigns": ["network"]}
    changed["placements"][0]["ad_breaks"] = [OVERLAY]
    key = "placements[0].ad_breaks[0]"
    assert found(changed, CatalogIndex({})) == [(f"{key}.placement_id", "unknown placement 'overlays'")]
    changed["placements"].append(overlays)
    assert found(changed, CatalogIndex({})) == []
    refused = "requires campaigns with upstreams only: creatives, as 'overlays' may have, are linear"
    overlays["campaigns"] = ["network", "spring"]
    assert found(changed, CatalogIndex({})) == [(f"{key}.break_type", refused)]
    overlays["campaigns"] = "targeted"
    assert found(changed, CatalogIndex({})) == [(f"{key}.break_type", refused)]


MISFITS = [
    ("campaigns[0].order", "other", ("campaigns[0].order", "unknown order 'other'")),
    (
        "campaigns[0].advertiser",
        "Other",
        ("campaigns[0].advertiser", "must be 'Acme', the advertiser of order 'acme-2026'"),
    ),
    ("campaigns[0].currency", "EUR", ("campaigns[0].currency", "must be USD, the currency of order 'acme-2026'")),
    (
        "campaigns[0].starts_at",
        datetime(2025, 12, 31, tzinfo=UTC),
        (
            "campaigns[0].starts_at",
            "must not be before 2026-01-01T00:00:00+00:00, the start of order 'acme-2026'",
        ),
    ),
    (
        "campaigns[0].ends_at",
        datetime(2027, 1, 1, 0, 0, 1, tzinfo=UTC),
        ("campaigns[0].ends_at", "must not be after 2027-01-01T00:00:00+00:00, the end of order 'acme-2026'"),
    ),
]


@pytest.mark.parametrize(("key", "value", "fault"), MISFITS)
def test_a_campaign_fits_its_order(key: str, value: object, fault: tuple[str, str]) -> None:
    changed = spoiled(key, value)
    assert found(changed, CatalogIndex({})) == [fault]
    assert found({"campaigns": changed["campaigns"][:1]}, current()) == [fault]


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("advertiser", "Other", "must fit campaign 'spring', whose advertiser is Acme"),
        ("currency", "EUR", "must fit campaign 'spring', whose currency is USD"),
        (
            "starts_at",
            datetime(2026, 1, 2, tzinfo=UTC),
            "must fit campaign 'spring', whose starts_at is 2026-01-01T00:00:00+00:00",
        ),
        (
            "ends_at",
            datetime(2026, 12, 31, tzinfo=UTC),
            "must fit campaign 'spring', whose ends_at is 2027-01-01T00:00:00+00:00",
        ),
    ],
)
def test_a_changed_order_fits_the_campaigns_that_stay(key: str, value: object, reason: str) -> None:
    orders = spoiled(f"orders[0].{key}", value)["orders"]
    assert found({"orders": orders, "advertisers": [{"id": "Other"}]}, current()) == [(f"orders[0].{key}", reason)]


def test_the_advertiser_of_an_order_exists_or_is_named_by_a_campaign() -> None:
    changed = spoiled("advertisers", [])
    assert found(changed, CatalogIndex({})) == []
    assert found({"orders": changed["orders"]}, current()) == []
    unknown = [("orders[0].advertiser", "unknown advertiser 'Acme'")]
    assert found({"orders": changed["orders"]}, CatalogIndex({})) == unknown
    changed["campaigns"][0]["cpm"] = "-1"
    assert found(changed, CatalogIndex({})) == [("campaigns[0].cpm", "must not be negative")]


def test_an_order_may_change_with_its_campaigns() -> None:
    changed = spoiled("orders[0].currency", "EUR")
    changed["campaigns"][0]["currency"] = "EUR"
    assert found(changed, current()) == []


def test_an_order_without_a_flight_takes_campaigns_of_any() -> None:
    (order,) = ordered()["orders"]
    changed = ordered() | {"orders": [{key: order[key] for key in ("id", "advertiser", "currency")}]}
    changed["campaigns"][0]["starts_at"] = datetime(2020, 1, 1, tzinfo=UTC)
    assert found(changed, current()) == []


def test_an_order_with_a_fault_of_its_own_is_not_unknown() -> None:
    changed = spoiled("orders[0].budget", "-1")
    assert found(changed, CatalogIndex({})) == [("orders[0].budget", "must not be negative")]


def test_advertisers_and_publishers_that_are_only_named_are_created_with_their_ids_as_names() -> None:
    changed = ordered()
    changed["orders"][0]["advertiser"] = changed["campaigns"][0]["advertiser"] = "Buyer"
    changed["placements"][0]["publisher_id"] = "radio"
    draft = read_draft("test.toml", changed)
    assert missing_advertisers(draft, CatalogIndex({})) == [
        Advertiser("Buyer", "Buyer"),
        Advertiser("The Network", "The Network"),
    ]
    assert missing_publishers(draft, CatalogIndex({})) == [Publisher("radio", "radio")]
    index = CatalogIndex(
        {
            Advertiser: {name: Advertiser(name, "A name") for name in ("Buyer", "The Network")},
            Publisher: {"radio": Publisher("radio", "Radio")},
        }
    )
    assert (missing_advertisers(draft, index), missing_publishers(draft, index)) == ([], [])


def test_a_blocked_advertiser_must_exist_because_it_may_be_misspelled() -> None:
    key = "placements[0].blocked_advertisers"
    assert found(spoiled(key, ["The Network"]), CatalogIndex({})) == []
    assert found(spoiled(key, ["The Netwrok"]), CatalogIndex({})) == [(f"{key}[0]", "unknown advertiser 'The Netwrok'")]


def capped(*caps: Document) -> Document:
    """The example with these caps on its first campaign, and a second one of the same advertiser with five."""
    changed = ordered()
    other = {**changed["campaigns"][0], "id": "other", "status": "paused", "upstreams": []}
    windows = ("minute", "hour", "day", "week", "month")
    other["frequency_caps"] = [{"impressions": 9, "per": window} for window in windows]
    changed["campaigns"].append(other)
    changed["campaigns"][0]["frequency_caps"] = [*caps]
    return changed


def test_at_most_eight_caps_apply_to_a_campaign_with_those_that_it_shares() -> None:
    shared = [{"impressions": 9, "every": f"{days} days", "level": "advertiser"} for days in (2, 3, 4, 5)]
    assert found(capped(*shared[:3]), CatalogIndex({})) == []
    reason = "at most 8 caps may apply to campaign 'other', got 9"
    assert ("campaigns[0].frequency_caps", reason) in found(capped(*shared), CatalogIndex({}))


def test_a_cap_of_an_order_requires_an_order() -> None:
    changed = document()
    changed["campaigns"][0]["frequency_caps"] = [{"impressions": 3, "per": "day", "level": "order"}]
    reason = "level 'order' requires the campaign to have an order"
    assert found(changed, CatalogIndex({})) == [("campaigns[0].frequency_caps", reason)]


def test_a_cap_of_creatives_requires_creatives() -> None:
    changed = document()
    changed["campaigns"][0]["frequency_caps"] = [{"impressions": 3, "per": "day", "level": "creative"}]
    changed["campaigns"][0]["upstreams"] = ["primary"]
    reason = "must be empty, because a frequency cap has level 'creative'"
    assert ("campaigns[0].upstreams", reason) in found(changed, CatalogIndex({}))
