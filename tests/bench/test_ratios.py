import pytest

from bench.ratios import ORDER, RATIOS, Ratio, ratio_of, run_turns, sides_of
from bench.report import MEANINGS


async def test_sides_are_run_in_turn_and_every_other_turn_backwards() -> None:
    ran: list[str] = []

    async def prove() -> None:
        ran.append("!")

    async def run(name: str) -> float:
        ran.append(name)
        return float(len(ran))

    sides = {name: lambda name=name: run(name) for name in "AB"}
    figures = await run_turns(sides, ["A", "B"], 4, lambda name, figure: None, prove)
    assert "".join(ran) == "AB!BA!AB!BA!"
    assert figures == {"A": [1, 5, 7, 11], "B": [2, 4, 8, 10]}


def test_a_ratio_divides_runs_of_the_same_turn() -> None:
    figures = {"spread": [10.0, 30.0, 20.0], "pgbench": [10.0, 10.0, 5.0]}
    assert ratio_of("spread", figures) == Ratio(median=3.0, min=1.0, max=4.0)


def test_a_side_alone_is_a_ratio_itself() -> None:
    assert ratio_of("wal", {"wal": [0.01, 0.03, 0.02]}) == Ratio(median=0.02, min=0.01, max=0.03)


@pytest.mark.parametrize("key", RATIOS)
def test_only_the_sides_of_the_ratios_that_are_wanted_are_run(key: str) -> None:
    assert sorted(sides_of([key])) == sorted(side for side in RATIOS[key] if side is not None)


def test_every_side_has_its_place_in_a_turn_and_every_ratio_its_meaning() -> None:
    assert {side for sides in RATIOS.values() for side in sides if side is not None} == set(ORDER)
    assert set(MEANINGS) == {*RATIOS, "memory"}
