"""CONTRIBUTING.md, the changelog and the files that editors and commits read agree with the tree."""

import re
import subprocess
import tomllib
from pathlib import Path

import yaml

from app.version import VERSION

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
BINARY = {".mp4"}
FOUND_IN_THE_CODE = re.compile(r"`((?:app|tests|deploy|docs|migrations)/[\w./-]+)`")


def tracked() -> list[Path]:
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.check_output(command, text=True).splitlines()
    return [Path(name) for name in listed if (ROOT / name).is_file()]


def test_every_folder_at_the_root_is_described() -> None:
    described = set(re.findall(r"^\| `([\w.-]+)` \|", PAGE, re.MULTILINE))
    assert described == {path.parts[0] for path in tracked() if len(path.parts) > 1}


def test_files_that_are_named_are_there() -> None:
    assert [path for path in FOUND_IN_THE_CODE.findall(PAGE) if not (ROOT / path).exists()] == []


def test_a_commit_is_checked_by_what_ci_runs() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local", "hooks from elsewhere would have versions of their own"
    (hook,) = repository["hooks"]
    assert (hook["entry"], hook["pass_filenames"], hook["always_run"]) == ("make check", False, True)
    assert hook["entry"] in (ROOT / ".ci" / "run").read_text().splitlines()


def test_files_are_as_the_editor_configuration_says() -> None:
    texts = {str(path): (ROOT / path).read_bytes() for path in tracked() if path.suffix not in BINARY}
    assert [name for name, text in texts.items() if b"\r" in text] == []
    assert [name for name, text in texts.items() if text and not text.endswith(b"\n")] == []
    assert [name for name, text in texts.items() if re.search(rb"[ \t]$", text, re.MULTILINE)] == []


def test_the_newest_section_of_the_changelog_is_of_this_version() -> None:
    headings = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    unreleased = headings[0] == f"[Unreleased] - {VERSION}"
    released = headings[0] == "[Unreleased]" and re.fullmatch(rf"\[{re.escape(VERSION)}\] - [\d-]{{10}}", headings[1])
    assert unreleased or released


def test_the_license_is_stated_alike() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert "[Apache-2.0](LICENSE)" in (ROOT / "README.md").read_text()
