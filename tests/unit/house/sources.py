"""The files that the rules of the house apply to."""

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]


def python_sources() -> Iterator[Path]:
    """Every Python file of the project."""
    for folder in ("app", "bench", "docs", "migrations", "tests"):
        yield from sorted((ROOT / folder).rglob("*.py"))
