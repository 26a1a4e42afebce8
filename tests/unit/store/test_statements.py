"""SQL statements are constants that a search finds: their names are unique, say verb and object, and are documented."""

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
    r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|LOCK TABLE|CREATE|ALTER|DROP|VALUES|JOIN|WHERE|CASE)\b"
)
STATEMENT = re.compile(r"(\s|--.*\n)*(WITH|SELECT|INSERT|UPDATE|DELETE|LOCK|CREATE|ALTER|DROP)\b")
"""Matches the beginning of a whole statement; a text that begins otherwise is a fragment of statements."""

VERBS = frozenset(
    """
    add anonymize apply book bump charge check claim close count create delete disable drop end fetch find format give hash
    insert lease lock make mark move open pin read rebuild record refuse release report roll spend store sum take update
    upsert
    """.upper().split()
)
SENTENCE = re.compile(r"[A-Z`].+?[.:]", re.DOTALL)


class Constant(NamedTuple):
    name: str
    place: str
    text: str
    docstring: str | None

    @property
    def is_statement(self) -> bool:
        return STATEMENT.match(self.text) is not None


def constants(tree: ast.Module, path: str) -> Iterator[Constant]:
    """The upper-case constants of a module with SQL in them, and the strings that follow them."""
    for node, after in zip_longest(tree.body, tree.body[1:]):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name.isupper():
                text = literal(value)
                if text is not None and KEYWORDS.search(text):
                    yield Constant(name, f"{path}:{node.lineno}", text, docstring(after))


def literal(value: ast.expr) -> str | None:
    """The text of a string or f-string, with `{}` for each value that is put in; None for anything else."""
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
    """The rules that the constant breaks."""
    verb, _, noun = constant.name.partition("_")
    if constant.is_statement and (verb not in VERBS or not noun):
        yield f"{constant.place}: {constant.name} is a statement: name it by a verb and its object, like LOCK_BUDGETS"
    if not constant.is_statement and (verb in VERBS or not noun):
        yield f"{constant.place}: {constant.name} is a fragment: name it by two nouns, like ALLOWED_LIMITS"
    if constant.docstring is None or not SENTENCE.match(constant.docstring):
        yield f"{constant.place}: {constant.name} has no docstring that begins with a sentence"


MODULES = {str(path.relative_to(APP.parent)): ast.parse(path.read_text()) for path in sorted(APP.rglob("*.py"))}
ALL = [constant for path, tree in MODULES.items() for constant in constants(tree, path)]


def test_every_statement_is_found() -> None:
    assert {"TAKE_CAPS", "SPEND_BUDGETS", "MOVED_AMOUNTS", "READ_CATALOG_REVISION"} <= {
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
    assert [constant.place for constant in ALL if names[constant.name] > 1] == []


@pytest.mark.parametrize(
    ("module", "complaint"),
    [
        ('LOOK = """\nSELECT 1 WHERE true\n"""\n"""Look at one."""', "by a verb and its object"),
        ('CAMPAIGN_ROWS = "SELECT * FROM campaigns"\n"""Read the campaigns."""', "by a verb and its object"),
        ('READ_LIMIT = f"CROSS JOIN {TABLE}"\n"""The limit."""', "by two nouns"),
        ('LOCK_CATALOG = "SELECT FROM catalog FOR UPDATE"', "no docstring"),
        ('LOCK_CATALOG = "SELECT FROM catalog FOR UPDATE"\n"""no sentence"""', "no docstring"),
    ],
)
def test_a_bad_name_is_refused(module: str, complaint: str) -> None:
    (constant,) = constants(ast.parse(module), "module.py")
    (fault,) = faults(constant)
    assert complaint in fault
