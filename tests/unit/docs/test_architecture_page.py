"""docs/architecture.md follows a request through the code: each link names a function or class that its file has."""

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
LINK = re.compile(r"\[`([\w.]+)`\]\(\.\./(app/[\w/]+\.py)\)")
SECTION = "The path of a request"


def definitions(file: Path) -> set[str]:
    """Every class, function and method of the file, as `function`, `Class` and `Class.method`."""
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}.{part.name}"
                for part in node.body
                if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return found


def test_every_linked_name_is_defined_in_its_file() -> None:
    links = LINK.findall(PAGE)
    assert [(name, file) for name, file in links if name not in definitions(ROOT / file)] == []


def test_the_path_is_linked_from_the_socket_to_commit_and_back() -> None:
    path = PAGE.partition(f"\n## {SECTION}\n")[2].partition("\n## ")[0]
    rooms = [file.split("/")[1] for _, file in LINK.findall(path)]
    assert rooms[0] == "fast_path"
    assert rooms[-1] == "fast_path"
    assert {"web", "serving", "store"} <= set(rooms)


def test_every_room_has_its_row() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    rooms = {room for layer in layers for room in re.findall(r"\w+", layer)}
    assert rooms - set(re.findall(r"`(\w+)`", PAGE)) == set()
