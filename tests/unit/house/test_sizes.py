"""Files and functions small enough to be read in one sitting."""

import ast
from collections.abc import Iterator

from tests.unit.house.sources import ROOT, python_sources

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60


def long_functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and (node.end_lineno or 0) - node.lineno >= FUNCTION_LINES_MAX
        ):
            yield node


def test_no_file_is_long() -> None:
    assert not [
        f"{file.relative_to(ROOT)}: {lines} lines"
        for file in python_sources()
        if (lines := len(file.read_text().splitlines())) > FILE_LINES_MAX
    ]


def test_no_function_is_long() -> None:
    assert not [
        f"{file.relative_to(ROOT)}:{function.lineno}: {function.name}"
        for file in python_sources()
        for function in long_functions(ast.parse(file.read_text()))
    ]


def test_a_long_function_is_found() -> None:
    body = "\n".join("    pass" for _ in range(FUNCTION_LINES_MAX))
    assert [function.name for function in long_functions(ast.parse(f"def too_long():\n{body}"))] == ["too_long"]
