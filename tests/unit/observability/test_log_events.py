"""Log events have one style: a literal snake_case name, and the cause in the field `error`."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

APP = Path(__file__).parents[3] / "app"
LEVELS = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
LOGGERS = frozenset({"log", "logger"})


def log_calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=level)):
                if name in LOGGERS and level in LEVELS:
                    yield node


def faults(source: str) -> list[str]:
    """Return what is wrong with each log call; its line first."""
    tree = ast.parse(source)
    found = []
    for call in log_calls(tree):
        match call.args:
            case [ast.Constant(value=str(event))] if re.fullmatch(r"[a-z]+(_[a-z]+)*", event):
                pass
            case _:
                found.append(f"{call.lineno}: the event must be a literal in snake_case")
    for handler in (node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.name):
        for call in log_calls(handler):
            for field in call.keywords:
                names = {node.id for node in ast.walk(field.value) if isinstance(node, ast.Name)}
                if handler.name in names and field.arg not in ("error", "exc_info"):
                    found.append(f"{call.lineno}: write error=, not {field.arg}=, for the exception")
    return found


@pytest.mark.parametrize("file", sorted(APP.rglob("*.py")), ids=lambda file: str(file.relative_to(APP)))
def test_log_calls_have_the_one_style(file: Path) -> None:
    assert faults(file.read_text()) == []


def test_there_are_log_calls_to_check() -> None:
    assert sum(len(list(log_calls(ast.parse(file.read_text())))) for file in APP.rglob("*.py")) > 25


@pytest.mark.parametrize(
    "call",
    [
        'log.warning("connection lost", error=str(error))',
        'log.warning("ConnectionLost")',
        'log.warning(f"connection_{error}")',
        "log.warning(event)",
        'log.warning("connection_lost", reason=str(error))',
    ],
)
def test_a_call_in_another_style_is_a_fault(call: str) -> None:
    assert len(faults(f"try:\n    pass\nexcept OSError as error:\n    {call}\n")) == 1


def test_a_call_in_this_style_is_no_fault() -> None:
    assert (
        faults('try:\n    pass\nexcept OSError as error:\n    log.warning("connection_lost", error=str(error))\n') == []
    )
