"""The example of docs/campaign-file.md, applied unchanged."""

import re
from pathlib import Path

from app.campaign_file.apply import apply
from app.campaign_file.parser import read_file
from app.store.connections import Store

PAGE = Path(__file__).parents[3] / "docs" / "campaign-file.md"


async def test_the_documented_example_can_be_applied_and_the_second_time_changes_nothing(
    store: Store, tmp_path: Path
) -> None:
    example = re.search(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert example
    file = tmp_path / "campaigns.toml"
    file.write_text(example[1])
    first = await apply(store, read_file(file))
    assert (len(first.created), first.updated, first.unchanged, first.notes) == (11, (), (), ())
    again = await apply(store, read_file(file))
    assert (again.revision, again.created, again.updated) == (first.revision, (), ())
