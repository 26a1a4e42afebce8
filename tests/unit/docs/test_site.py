"""The documentation site: it builds offline, has every page once, and none of its links is broken."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from lxml import html

from docs import site

CONFIGURATION = tomllib.loads((site.ROOT / "zensical.toml").read_text())["project"]
LOADED = ("//link[@rel!='canonical']/@href", "//script/@src", "//img/@src")


@pytest.fixture(scope="module")
def built() -> Path:
    """The site, built as `make docs-site` builds it."""
    assert site.build() == 0, "zensical names the broken links above"
    folder: Path = site.ROOT / CONFIGURATION["site_dir"]
    return folder


def test_every_page_is_in_the_table_of_contents_once() -> None:
    listed = sorted(entries(CONFIGURATION["nav"]))
    assert listed == sorted(str(page.relative_to(site.ROOT)) for page in site.pages()), "edit `nav` in zensical.toml"


def test_the_table_of_contents_is_by_audience() -> None:
    sections = [
        title for entry in CONFIGURATION["nav"] for title, content in entry.items() if isinstance(content, list)
    ]
    assert sections == ["Players", "Ad operations", "Finance", "DBAs", "Operations", "Developers"]


def test_every_link_leads_to_a_file_of_the_site(built: Path) -> None:
    broken = [
        (str(page.relative_to(built)), link)
        for page in built.rglob("*.html")
        for link in html.parse(page).xpath("//@href | //@src")
        if not urlsplit(link).scheme and page.name != "404.html"
        if not (page.parent / unquote(urlsplit(link).path)).exists()
    ]
    assert broken == []


def test_pages_load_nothing_from_other_hosts(built: Path) -> None:
    loaded = {link for page in built.rglob("*.html") for path in LOADED for link in html.parse(page).xpath(path)}
    assert [link for link in loaded if urlsplit(link).netloc] == []


def test_the_programs_that_write_pages_are_not_part_of_the_site(built: Path) -> None:
    linked = {str(file.relative_to(site.ROOT)) for page in site.pages() for file in site.linked_files(page)}
    programs = {str(path.relative_to(built)) for path in (built / "docs").rglob("*.py")}
    assert programs <= linked
    assert "docs/settings_page.py" not in programs


@pytest.mark.parametrize("link", ["docs/no-page.md", "docs/page.md#no-heading"])
def test_a_broken_link_between_pages_fails_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str
) -> None:
    write_pages(tmp_path, monkeypatch, link)
    assert site.build() != 0


def test_a_broken_link_to_a_source_file_fails_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pages(tmp_path, monkeypatch, "app/no_module.py#L7")
    with pytest.raises(FileNotFoundError):
        site.build()


def write_pages(folder: Path, monkeypatch: pytest.MonkeyPatch, link: str) -> None:
    """A repository of two pages, one of which has the link."""
    monkeypatch.setattr(site, "ROOT", folder)
    monkeypatch.setattr(site, "STAGED", folder / "build" / "docs")
    configuration = (Path(__file__).parents[3] / "zensical.toml").read_text()
    head, _, rest = configuration.partition("\nnav = [")
    (folder / "zensical.toml").write_text(head + "\n[project.theme]" + rest.partition("\n[project.theme]")[2])
    (folder / "docs").mkdir()
    (folder / "docs" / "page.md").write_text("# A page\n")
    (folder / "README.md").write_text(f"# Home\n\n[A link]({link})\n")


def entries(nav: list[dict[str, Any]]) -> Iterator[str]:
    """The pages of a table of contents."""
    for entry in nav:
        for content in entry.values():
            yield from [content] if isinstance(content, str) else entries(content)
