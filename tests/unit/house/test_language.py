"""Plain American English in everything that a person reads; CONTRIBUTING.md has the principles."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.house.language import EXCEPTIONS, OPENINGS, SPELLINGS, WORDS
from tests.unit.house.sources import ROOT

READ = ("app", "migrations", "docs", "README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
BUNDLED = "player"
"""The folder of the demo page's player, which others wrote and `make demo-player` bundles."""

SUFFIXES = frozenset({".py", ".md", ".sql", ".html", ".js", ".toml", ".mako"})
RULES = [
    *((re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE), instead) for pattern, instead in (WORDS | SPELLINGS).items()),
    (re.compile(OPENINGS), "name the subject: 'The parameters of a query'; for a function, say what it does"),
]


def texts() -> Iterator[Path]:
    for name in READ:
        path = ROOT / name
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (file for file in files if file.suffix in SUFFIXES and BUNDLED not in file.relative_to(ROOT).parts)


def faults_in(text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, instead in RULES:
            for found in pattern.finditer(line):
                if not any(exception in line for exception in EXCEPTIONS):
                    yield f"{number}: '{found.group()}': write {instead}"


def test_the_language_is_plain() -> None:
    faults = [f"{file.relative_to(ROOT)}:{fault}" for file in texts() for fault in faults_in(file.read_text())]
    assert not faults, "\n" + "\n".join(faults)


@pytest.mark.parametrize(
    "text",
    [
        "Whoever asks is answered.",
        "at the most 5 s",
        "Nobody is told of it.",
        "passes over what it knows",
        "It stands for a user.",
        "so many seconds",
        "the colour",
        "cancelled",
        "normalise",
        '    """What a player asks for."""',
    ],
)
def test_a_fault_is_found(text: str) -> None:
    assert list(faults_in(text))


@pytest.mark.parametrize("text", ["The caller is notified.", "at most 5 s", "color", "canceled", '"""Return a row."""'])
def test_plain_text_passes(text: str) -> None:
    assert not list(faults_in(text))
