"""A short run of the fuzzer, the same every time; `make fuzz` runs it for as long as one likes."""

import random
from collections import Counter

import pytest

from app.errors import UnusableVast
from app.vast.parser import parse
from tests.fuzz.documents import document
from tests.fuzz.trials import BrokenRuleError, trial

TRIALS = 400


def test_no_document_and_no_string_breaks_a_rule() -> None:
    outcomes = Counter(trial(seed) for seed in range(TRIALS))
    assert set(outcomes) == {"ad", "no ad", "refused"}
    assert outcomes["ad"] > TRIALS / 10


def test_a_trial_is_the_same_whenever_it_is_run() -> None:
    assert document(random.Random(7)) == document(random.Random(7))


def test_a_broken_rule_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsafe(body: bytes) -> object:
        try:
            return parse(body)
        except UnusableVast as error:
            raise ValueError("not translated") from error

    monkeypatch.setattr("tests.fuzz.trials.parse", unsafe)
    with pytest.raises((BrokenRuleError, ValueError)):
        [trial(seed) for seed in range(50)]
