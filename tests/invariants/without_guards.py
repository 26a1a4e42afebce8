"""`make guards`: remove each guard in turn from a copy of the tree, and check that its test fails there."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.invariants.guards import GUARDS, Guard

ROOT = Path(__file__).parents[2]
COPIED = ("app", "docs", "migrations", "tests", "pyproject.toml", "alembic.ini")
TESTS_FAILED = 1
"""pytest's exit status for failed tests; others mean that it could not run them."""
NO_PROOF = (
    "PostgresSyntaxError",
    "IndentationError",
    "UndefinedColumn",
    "UndefinedTable",
    "NameError",
    "ImportError",
    "AttributeError",
)
"""Errors that show that the removal broke the code, and prove nothing about the guard."""


@contextmanager
def copied_tree() -> Iterator[Path]:
    """Yield a copy of the files that the tests need, so that the tree itself is never changed."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        tree = Path(folder)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / name, tree / name)
        yield tree


def is_in_place(tree: Path, guard: Guard) -> bool:
    """Return whether the guard's text occurs in its file exactly once."""
    return (tree / guard.file).read_text().count(guard.text) == 1


@contextmanager
def taken_out(tree: Path, guard: Guard) -> Iterator[None]:
    """Remove the guard from the tree inside the block."""
    file = tree / guard.file
    original = file.read_text()
    file.write_text(original.replace(guard.text, guard.instead))
    try:
        yield
    finally:
        file.write_text(original)


def run_tests(tree: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Return pytest's exit status and output for these tests of the tree."""
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "--tb=short", "-p", "no:cacheprovider", *tests],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return ran.returncode, ran.stdout


def complaint(status: int, output: str) -> str | None:
    """Return the reason why a run without a guard proves nothing; None if its test is red as expected."""
    if status == 0:
        return "green without it"
    if status != TESTS_FAILED:
        return f"could not run: {output[-500:]}"
    return next((f"red for another reason: {word}" for word in NO_PROOF if word in output), None)


def first_error(output: str) -> str:
    """Return the first line of pytest's report on the failure."""
    found = re.search(r"^E\s+(.+)$", output, re.MULTILINE)
    return found[1] if found else ""


def main() -> int:
    """Print a line for each guard; return 0 if every test was red without its guard."""
    unguarded = 0
    with copied_tree() as tree:
        if missing := [guard.name for guard in GUARDS if not is_in_place(tree, guard)]:
            sys.stdout.write(f"these guards are not in the code: {missing}\n")
            return 1
        status, output = run_tests(tree, sorted({guard.test for guard in GUARDS}))
        if status:
            sys.stdout.write(f"red with every guard in place:\n{output}")
            return 1
        for guard in GUARDS:
            with taken_out(tree, guard):
                status, output = run_tests(tree, [guard.test])
            fault = complaint(status, output)
            unguarded += fault is not None
            sys.stdout.write(f"{guard.rule}  {guard.name:66} {fault or 'red: ' + first_error(output)[:90]}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(GUARDS) - unguarded} of {len(GUARDS)} guards have a test that is red without them\n")
    return 1 if unguarded else 0


if __name__ == "__main__":
    sys.exit(main())
