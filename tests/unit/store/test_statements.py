"""SQL constants have a docstring and a unique name: verb and object for a statement, nouns for a fragment."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import pytest

APP = Path(__file__).parents[3] / "app"
KEYWORDS = re.compile(
    r"\b(WITH|SELECT|INSERT INTO|UPDATE|DELETE FROM|LOCK TABLE|CREATE|ALTER|DROP|VALUES|JOIN|WHERE|CASE)\b"
)
STATEMENT = re.compile(r"(\s|--.*\n)*(WITH|SELECT|INSERT|UPDATE|DELETE|LOCK|CREATE|ALTER|DROP)\b")
"""Matches the beginning of a whole statement; a text that begins otherwise is a fragment of statements."""

VERB = re.compile(
    "(ADD|ANONYMIZE|APPLY|ARCHIVE|BOOK|BUMP|CHARGE|CHECK|CLAIM|CLOSE|COUNT|CREATE|DELETE|DETACH|DISABLE|DROP|END"
    "|FIND|FIX|FORMAT|GIVE|GUARD|HASH|INSERT|LEASE|LOCK|MAKE|MARK|MOVE|OPEN|PIN|PUBLISH|READ|REBUILD|RECORD|REFUSE"
    "|RELEASE|REPORT|RESET|RESTORE|RETRY|ROLL|SPEND|STORE|SUM|TAKE|UPSERT|USE|WRITE)(_|$)"
)
SENTENCE = re.compile(r"[A-Z`].+?[.:]", re.DOTALL)


class Constant(NamedTuple):
    name: str
    location: str
    text: str
    docstring: str | None

    @property
    def is_statement(self) -> bool:
        return STATEMENT.match(self.text) is not None


def constants(tree: ast.Module, path: str) -> Iterator[Constant]:
    """Yield the module's upper-case constants that contain SQL, with the docstrings that follow them."""
    for node, after in zip_longest(tree.body, tree.body[1:]):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name.isupper():
                text = literal(value)
                if text is not None and KEYWORDS.search(text):
                    yield Constant(name, f"{path}:{node.lineno}", text, docstring(after))


def literal(value: ast.expr) -> str | None:
    """Return the text of a string or of an f-string, with `{}` for each inserted value; None for anything else."""
    match value:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(literal(part) or "{}" for part in parts)
        case _:
            return None


def docstring(node: ast.stmt | None) -> str | None:
    match node:
        case ast.Expr(value=ast.Constant(value=str() as text)):
            return text
        case _:
            return None


def faults(constant: Constant) -> Iterator[str]:
    """Yield a message for each rule that the constant breaks."""
    begins_with_verb, has_object = VERB.match(constant.name) is not None, "_" in constant.name
    if constant.is_statement and not (begins_with_verb and has_object):
        yield f"{constant.location}: {constant.name} is a statement: name it with a verb and its object"
    if not constant.is_statement and (begins_with_verb or not has_object):
        yield f"{constant.location}: {constant.name} is a fragment: name it with two nouns"
    if constant.docstring is None or not SENTENCE.match(constant.docstring):
        yield f"{constant.location}: {constant.name} has no docstring that begins with a sentence"


MODULES = {str(path.relative_to(APP.parent)): ast.parse(path.read_text()) for path in sorted(APP.rglob("*.py"))}
ALL = [constant for path, tree in MODULES.items() for constant in constants(tree, path)]


def test_every_statement_is_found() -> None:
    assert {"TAKE_CAPS", "SPEND_OWN_BUDGETS", "MOVED_AMOUNTS", "READ_CATALOG_REVISION"} <= {
        constant.name for constant in ALL
    }


@pytest.mark.parametrize("constant", ALL, ids=[constant.name for constant in ALL])
def test_a_statement_has_a_name_with_verb_and_object_and_a_sentence(constant: Constant) -> None:
    assert list(faults(constant)) == []


def test_no_name_of_a_statement_occurs_twice() -> None:
    names = Counter(
        target.id
        for tree in MODULES.values()
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    )
    assert [constant.location for constant in ALL if names[constant.name] > 1] == []


@pytest.mark.parametrize(
    ("module", "complaint"),
    [
        ('LOOK = """\nSELECT 1 WHERE true\n"""\n"""Look at it."""', "with a verb and its object"),
        ('CAMPAIGN_ROWS = "SELECT * FROM campaigns"\n"""Read the campaigns."""', "with a verb and its object"),
        ('READ_LIMIT = f"CROSS JOIN {TABLE}"\n"""The limit."""', "with two nouns"),
        ('LOCK_CATALOG = "SELECT FROM catalog FOR UPDATE"', "no docstring"),
        ('LOCK_CATALOG = "SELECT FROM catalog FOR UPDATE"\n"""no sentence"""', "no docstring"),
    ],
)
def test_a_bad_name_is_refused(module: str, complaint: str) -> None:
    (constant,) = constants(ast.parse(module), "module.py")
    (fault,) = faults(constant)
    assert complaint in fault
