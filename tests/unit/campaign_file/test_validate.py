"""Holding a draft against what there is: what a large file costs."""

from collections.abc import Iterator
from dataclasses import replace

from app.campaign_file.parser import read_draft
from app.campaign_file.validate import CatalogIndex, find_faults
from app.domain import CatalogItem
from tests.unit.campaign_file.examples import document

MANY = 100


class Locations(dict[tuple[type[CatalogItem], str], str]):
    """Counts how often somebody goes through all of it."""

    looks = 0

    def __iter__(self) -> Iterator[tuple[type[CatalogItem], str]]:
        self.looks += 1
        return super().__iter__()


def test_a_file_of_many_campaigns_without_ads_is_gone_through_once_and_not_for_each() -> None:
    campaign = document()["campaigns"][0]
    draft = read_draft("test.toml", {"campaigns": [{**campaign, "id": str(no)} for no in range(MANY)]})
    locations = Locations(draft.locations)
    found = find_faults(replace(draft, locations=locations), CatalogIndex({}))
    assert [fault.key for fault in found] == [f"campaigns[{no}].upstreams" for no in range(MANY)]
    assert locations.looks == 1
