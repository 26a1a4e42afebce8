"""The lists of guards match the code and the page; `make guards` proves that each guard is needed."""

import re

import pytest

from tests.invariants.guards import GUARDS, Guard
from tests.invariants.without_guards import ROOT, complaint, copied_tree, is_in_place, run_tests, taken_out

PAGE = (ROOT / "docs" / "invariants.md").read_text()
NAMES = [f"{guard.rule} {guard.name}" for guard in GUARDS]


def test_every_invariant_has_a_guard_and_no_guard_is_listed_twice() -> None:
    assert {guard.rule for guard in GUARDS} == set(re.findall(r"^\| ([A-Z]\d) \|", PAGE, re.MULTILINE))
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("guard", GUARDS, ids=NAMES)
def test_a_guard_is_where_the_list_says_and_has_its_test(guard: Guard) -> None:
    assert is_in_place(ROOT, guard)
    file, _, name = guard.test.partition("::")
    assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE)


def test_the_page_shows_the_result_of_each_guard() -> None:
    seen = re.findall(r"^([A-Z]\d)  (.+?) +red: ", PAGE, re.MULTILINE)
    assert [f"{rule} {name}" for rule, name in seen] == NAMES


@pytest.mark.slow
@pytest.mark.parametrize("guard", GUARDS, ids=NAMES)
def test_without_a_guard_its_test_is_red(guard: Guard) -> None:
    with copied_tree() as tree, taken_out(tree, guard):
        assert complaint(*run_tests(tree, [guard.test])) is None
