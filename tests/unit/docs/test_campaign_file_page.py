"""docs/campaign-file.md names every key with its default and bounds; its example is right as it stands there."""

import json
import re
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import annotated_types
import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.campaign_file import campaign_tables, creative_tables, placement_tables, price_tables, vast_element_tables
from app.campaign_file.models import TABLES
from app.campaign_file.parser import read_draft
from app.campaign_file.targeting_table import TargetingTable

PAGE = (Path(__file__).parents[3] / "docs" / "campaign-file.md").read_text()
EXAMPLE = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
INNER = {
    "price": price_tables.PriceTable,
    "budgets": price_tables.BudgetsTable,
    "budgets.*": price_tables.BudgetTable,
    "frequency_caps": campaign_tables.CapTable,
    "targeting": TargetingTable,
    "media_files": creative_tables.MediaFileTable,
    "tracking": vast_element_tables.TrackerTable,
    "viewable_impression": vast_element_tables.ViewableImpressionTable,
    "ad_verifications": vast_element_tables.AdVerificationTable,
    "javascript_resources": vast_element_tables.JavaScriptResourceTable,
    "executable_resources": vast_element_tables.ExecutableResourceTable,
    "companions": vast_element_tables.CompanionTable,
    "icons": vast_element_tables.IconTable,
    "closed_captions": vast_element_tables.ClosedCaptionTable,
    "interactive": vast_element_tables.InteractiveTable,
    "universal_ad_ids": vast_element_tables.UniversalAdIdTable,
    "categories": vast_element_tables.CategoryTable,
    "ad_breaks": placement_tables.AdBreakTable,
}
SECTIONS: dict[str, type[BaseModel]] = {f"[[{name}]]": model for name, model in TABLES.items()} | INNER
HEADING = re.compile(r"^(##+) (.+)$", re.MULTILINE)
KEYS = re.compile(r"^\| Key \| Default \| Rule \|\n\|[-|]+\|\n((?:\|.*\n)+)", re.MULTILINE)
ROW = re.compile(r"^\| `(\w+)` \| (.*?) ?\| (.*) \|$", re.MULTILINE)

section = pytest.mark.parametrize("name", SECTIONS)


@section
def test_every_key_is_named_with_its_default(name: str) -> None:
    named = [(key, default) for key, default, _ in rows(name)]
    keys = {(field.alias or key, default_of(field)) for key, field in SECTIONS[name].model_fields.items()}
    assert (set(named), len(named)) == (keys, len(keys))


@section
def test_a_key_with_bounds_names_them(name: str) -> None:
    rules = {key: rule for key, _, rule in rows(name)}
    bounds = {key: list(bounds_of(field)) for key, field in SECTIONS[name].model_fields.items()}
    assert [(key, bound) for key, of_key in bounds.items() for bound in of_key if f"{bound:,}" not in rules[key]] == []


def test_every_table_that_is_headed_is_one() -> None:
    assert set(texts()) == set(SECTIONS)


def test_every_chapter_is_in_the_table_of_contents() -> None:
    contents = PAGE.partition("\n## ")[0]
    headed = [anchor(heading) for level, heading in HEADING.findall(without_code(PAGE)) if level == "##"]
    assert [name for name in headed if f"](#{name})" not in contents] == []


def test_links_within_the_page_lead_to_headings() -> None:
    anchors = {anchor(heading) for _, heading in HEADING.findall(without_code(PAGE))}
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) - anchors == set()


def test_the_example_has_no_fault_and_names_every_kind() -> None:
    assert EXAMPLE
    document = tomllib.loads(EXAMPLE[1], parse_float=Decimal)
    assert read_draft("example", document).faults == ()
    assert document.keys() == TABLES.keys()


def rows(name: str) -> list[tuple[str, str, str]]:
    keys = "".join(KEYS.findall(texts()[name]))
    return [(key, default.strip(), rule) for key, default, rule in ROW.findall(keys)]


def texts() -> dict[str, str]:
    """The text on each table: under the heading with its name, and under the headings in words below that."""
    found: dict[str, str] = {}
    names: dict[int, str] = {}
    _, *parts = HEADING.split(without_code(PAGE))
    for marks, heading, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        level = len(marks)
        names = {other: name for other, name in names.items() if other < level}
        if heading.startswith("`"):
            names[level] = heading.strip("`")
        if names:
            name = names[max(names)]
            found[name] = found.get(name, "") + text
    return found


def without_code(page: str) -> str:
    return re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)


def anchor(heading: str) -> str:
    """The name that the heading has in links, as sites make it of its words."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def default_of(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    match field.default:
        case None:
            return ""
        case BaseModel():
            return "`{}`"
        case Decimal():
            return f'`"{field.default}"`'
        case default:
            return f"`{json.dumps(default)}`"


def bounds_of(field: FieldInfo) -> Iterator[int]:
    yield from bounds_in(field.metadata or metadata_of_optional(field))


def metadata_of_optional(field: FieldInfo) -> list[object]:
    """Those of `Annotated[int, Field(...)] | None`, which lie one deeper."""
    arguments = getattr(field.annotation, "__args__", ())
    inner = [info for argument in arguments for info in getattr(argument, "__metadata__", ())]
    return [limit for info in inner for limit in (info.metadata if isinstance(info, FieldInfo) else [info])]


def bounds_in(metadata: list[object]) -> Iterator[int]:
    for limit in metadata:
        if isinstance(limit, annotated_types.Ge):
            yield int(str(limit.ge))
        if isinstance(limit, annotated_types.Le):
            yield int(str(limit.le))
