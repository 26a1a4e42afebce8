"""Names that say nothing are refused; ruff has no rule for them."""

import ast
from collections.abc import Iterator

import pytest

from tests.unit.house.sources import ROOT, python_sources

REFUSED = {"no": "index, number or position", "of": "the thing itself", "whats": "the thing itself"}
"""Each name, and what to use instead."""


def bound_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The line and the name of everything that the code defines."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name


def test_no_name_is_a_preposition_or_a_number_in_disguise() -> None:
    assert [
        f"{file.relative_to(ROOT)}:{line}: '{name}': use {REFUSED[name]}"
        for file in python_sources()
        for line, name in bound_names(ast.parse(file.read_text()))
        if name in REFUSED
    ] == []


@pytest.mark.parametrize(
    "code",
    ["no = 1", "for no in range(3): pass", "[of for of in ()]", "def f(no): pass", "def whats(): pass", "self.no = 1"],
)
def test_a_refused_name_is_found(code: str) -> None:
    assert any(name in REFUSED for _, name in bound_names(ast.parse(code)))
