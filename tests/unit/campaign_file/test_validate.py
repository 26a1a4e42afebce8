"""Holding a draft against what there is: what a large file costs."""

from collections.abc import Iterator
from dataclasses import replace

from app.campaign_file.parser import read_draft
from app.campaign_file.validate import Known, faults
from app.store.catalog_writes import Thing
from tests.unit.campaign_file.examples import document

MANY = 100


class Places(dict[tuple[type[Thing], str], str]):
    """Counts how often somebody goes through all of it."""

    looks = 0

    def __iter__(self) -> Iterator[tuple[type[Thing], str]]:
        self.looks += 1
        return super().__iter__()


def test_a_file_of_many_campaigns_without_ads_is_gone_through_once_and_not_for_each() -> None:
    campaign = document()["campaigns"][0]
    draft = read_draft("test.toml", {"campaigns": [{**campaign, "id": str(no)} for no in range(MANY)]})
    places = Places(draft.places)
    found = faults(replace(draft, places=places), Known({}))
    assert [fault.key for fault in found] == [f"campaigns[{no}].upstreams" for no in range(MANY)]
    assert places.looks == 1
