"""README, docs and the other pages name only files, settings, commands and targets that exist."""

import re
from pathlib import Path

import pytest

from app.cli import app
from app.settings import Settings

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")
SETTING = re.compile(r"\bADSERVER_[A-Z_]+\b(?!\*)")
COMMAND = re.compile(r"(?:\.venv/bin/|`|^|^\$ )adserver ([a-z][a-z-]*)", re.MULTILINE)
TARGET = re.compile(r"(?:`|^|^\$ )make ([a-z-]+)\b", re.MULTILINE)

page = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


@page
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    links = LINK.findall(page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@page
def test_settings_that_are_named_are_settings(page: Path) -> None:
    known = {f"ADSERVER_{name.upper()}" for name in Settings.model_fields}
    assert set(SETTING.findall(page.read_text())) - known - compose_variables() == set()


@page
def test_commands_that_are_named_are_commands(page: Path) -> None:
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    groups = {
        group.name or (group.typer_instance.info.name if group.typer_instance else "")
        for group in app.registered_groups
    }
    assert set(COMMAND.findall(page.read_text())) - commands - groups == set()


@page
def test_no_command_line_has_a_password_in_it(page: Path) -> None:
    assert re.findall(r"\$\([^)]*adserver dsn[^)]*\)|^psql .*://\S+:\S+@", page.read_text(), re.MULTILINE) == []


@page
def test_targets_that_are_named_are_targets(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(TARGET.findall(page.read_text())) - targets == set()


def compose_variables() -> set[str]:
    return set(re.findall(r"\$\{(ADSERVER_[A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
