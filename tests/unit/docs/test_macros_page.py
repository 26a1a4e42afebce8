from pathlib import Path

from docs.macros_page import page

DOCS = Path(__file__).parents[3] / "docs"


def test_the_page_of_macros_is_what_the_sources_are() -> None:
    assert (DOCS / "macros.md").read_text() == page()
