"""Validation of a draft against the catalog: the cost of a large file."""

from collections.abc import Iterator
from dataclasses import replace

from app.campaign_file.parser import read_draft
from app.campaign_file.validate import CatalogIndex, find_faults
from app.domain import CatalogItem
from tests.unit.campaign_file.examples import document

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
