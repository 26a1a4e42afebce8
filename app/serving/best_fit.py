"""The most valuable items that fit in a room together: a branch and bound search of bounded length.

Some items exclude each other, and a group of items has a maximum. The search takes items in the order of their value
for each unit of length, and leaves a branch when even the best use of the remaining room and slots could not improve
the result. Sorting takes O(n log n); the search has at most `STEPS_MAX` steps of constant cost. If it ends before all
branches were looked at, the best result so far counts.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

STEPS_MAX = 200
"""Steps of one search, which take about a third of a millisecond."""


class Item(NamedTuple):
    """An item that takes one slot and its length of the room."""

    value: int
    length: int
    group: int
    marks: int = 0
    """Bits that other items can exclude."""
    excludes: int = 0
    """The marks that no other item of the result may have; items exclude each other."""


Total = tuple[int, int]
"""The value and the length of a result; the greater one is better."""


def best_fit(
    items: Sequence[Item], group_max: Sequence[int], *, room: int, slots: int, better_than: Total
) -> list[int] | None:
    """Return the positions of the items with the highest total value, and of these with the greatest total length.

    Return None if no result is better than `better_than`. Items of the same value and length are taken in their order.
    """
    order = sorted(range(len(items)), key=lambda index: (-items[index].value / items[index].length, index))
    search = _Search([items[index] for index in order], group_max, better_than)
    search.extend(0, room, slots, 0, 0, 0)
    return None if search.found is None else sorted(order[index] for index in search.found)


class _Search:
    """The search over items in the order of their density, highest first."""

    def __init__(self, items: Sequence[Item], group_max: Sequence[int], best: Total) -> None:
        self._items = items
        self._left = list(group_max)
        self._best = best
        self._taken: list[int] = []
        self._steps_left = STEPS_MAX
        self._dearest = _of_rest([item.value for item in items], max)
        self._longest = _of_rest([item.length for item in items], max)
        self._shortest = _of_rest([item.length for item in items], min)
        self.found: list[int] | None = None

    def extend(self, start: int, room: int, slots: int, value: int, length: int, blocked: int) -> None:
        """Try every item from `start` on as the next one of the result so far, which has this value and length."""
        for index in range(start, len(self._items)):
            item_value, item_length, group, marks, excludes = self._items[index]
            # The most that the items from here on could add: none has more value for its length than this one.
            count = min(slots, room // self._shortest[index])
            value_max = value + min(count * self._dearest[index], room * item_value // item_length)
            if self._steps_left == 0 or value_max < self._best[0]:
                return
            if value_max == self._best[0] and length + min(room, count * self._longest[index]) <= self._best[1]:
                return
            self._steps_left -= 1
            if item_length > room or marks & blocked or self._left[group] == 0:
                continue
            self._taken.append(index)
            self._left[group] -= 1
            total = (value + item_value, length + item_length)
            if total > self._best:
                self._best, self.found = total, self._taken.copy()
            if slots > 1:
                self.extend(index + 1, room - item_length, slots - 1, *total, blocked | excludes)
            self._left[group] += 1
            self._taken.pop()


def _of_rest(numbers: Sequence[int], function: Callable[[int, int], int]) -> list[int]:
    """Return for each position the maximum or minimum from there to the end."""
    return list(accumulate(reversed(numbers), function))[::-1]
