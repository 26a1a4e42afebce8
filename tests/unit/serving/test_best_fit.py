"""The best fit is that of a search through all subsets, as long as there are few items."""

from itertools import combinations
from time import process_time

from hypothesis import given
from hypothesis import strategies as st

from app.serving.best_fit import Item, Total, best_fit

GROUPS = 3


@st.composite
def items(draw: st.DrawFn) -> list[Item]:
    """Items of which some exclude each other."""
    count = draw(st.integers(0, 7))
    pairs = draw(st.sets(st.tuples(st.integers(0, count), st.integers(0, count)), max_size=4))
    excluded = [
        sum({1 << other for pair in pairs for other in pair if index in pair and other != index})
        for index in range(count)
    ]
    return [
        Item(draw(st.integers(0, 5)), draw(st.integers(1, 6)), draw(st.integers(0, GROUPS - 1)), 1 << index, excludes)
        for index, excludes in enumerate(excluded)
    ]


def total(known: list[Item], chosen: tuple[int, ...] | list[int]) -> Total:
    return sum(known[index].value for index in chosen), sum(known[index].length for index in chosen)


def is_allowed(known: list[Item], chosen: tuple[int, ...] | list[int], group_max: list[int], room: int) -> bool:
    groups = [known[index].group for index in chosen]
    return (
        total(known, chosen)[1] <= room
        and all(groups.count(group) <= group_max[group] for group in groups)
        and not any(known[one].excludes & known[other].marks for one, other in combinations(chosen, 2))
    )


@given(items(), st.lists(st.integers(0, 2), min_size=GROUPS, max_size=GROUPS), st.integers(0, 15), st.integers(1, 5))
def test_no_subset_is_better(known: list[Item], group_max: list[int], room: int, slots: int) -> None:
    allowed = [
        total(known, chosen)
        for count in range(slots + 1)
        for chosen in combinations(range(len(known)), count)
        if is_allowed(known, chosen, group_max, room)
    ]
    found = best_fit(known, group_max, room=room, slots=slots, better_than=(0, 0))
    assert (total(known, found) if found else (0, 0)) == max(allowed)
    if found:
        assert found == sorted(set(found))
        assert len(found) <= slots
        assert is_allowed(known, found, group_max, room)


def test_the_value_counts_before_the_length() -> None:
    twenty, fifteen, other = Item(3, 20, 0), Item(2, 15, 1), Item(2, 15, 2)
    assert best_fit([twenty, fifteen, other], [1, 1, 1], room=30, slots=3, better_than=(0, 0)) == [1, 2]
    assert best_fit([twenty._replace(value=5), fifteen, other], [1, 1, 1], room=30, slots=3, better_than=(0, 0)) == [0]


def test_of_equal_items_the_first_are_taken() -> None:
    assert best_fit([Item(2, 15, 0)] * 9, [9], room=30, slots=5, better_than=(0, 0)) == [0, 1]


def test_there_is_no_result_that_is_not_better() -> None:
    assert best_fit([Item(2, 15, 0)], [1], room=30, slots=5, better_than=(2, 15)) is None


def test_the_search_among_many_items_ends() -> None:
    hard = [Item(1000 + 7 * index % 50, 5000 + 37 * index % 997, index, 1 << index) for index in range(100)]
    began = process_time()
    for _ in range(100):
        found = best_fit(hard, [1] * 100, room=59_999, slots=20, better_than=(0, 0))
        assert found
        assert total(hard, found)[1] <= 59_999
    assert process_time() - began < 1, "each takes less than 10 ms even on a slow machine"
