"""The recipes of docs/recipes.md, each applied unchanged to an empty database."""

import re
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest

from app.campaign_file.apply import apply
from app.campaign_file.exporter import to_toml
from app.campaign_file.parser import Draft, read_draft
from app.store import catalog_reader
from app.store.connections import Store

PAGE = (Path(__file__).parents[3] / "docs" / "recipes.md").read_text()
CONTENTS, *SECTIONS = re.split(r"^## ", PAGE, flags=re.MULTILINE)
RECIPES = {section.partition("\n")[0]: re.findall(r"```toml\n(.*?)```", section, re.DOTALL) for section in SECTIONS}


def draft_of(toml: str) -> Draft:
    return read_draft("recipe.toml", tomllib.loads(toml, parse_float=Decimal))


@pytest.mark.parametrize("title", RECIPES)
async def test_a_recipe_can_be_applied_and_the_second_time_changes_nothing(store: Store, title: str) -> None:
    (recipe,) = RECIPES[title]
    draft = draft_of(recipe)
    first = await apply(store, draft)
    assert (len(first.created) >= len(draft.items), first.updated, first.notes) == (True, (), ())
    async with store.connection() as connection:
        exported = to_toml(await catalog_reader.load(connection))
    for again in (draft, draft_of(exported)):
        result = await apply(store, again)
        assert (result.revision, result.created, result.updated) == (first.revision, (), ())


def test_every_recipe_is_in_the_table_of_contents() -> None:
    anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in RECIPES]
    assert sorted(re.findall(r"\(#([^)]+)\)", CONTENTS)) == sorted(anchors)
