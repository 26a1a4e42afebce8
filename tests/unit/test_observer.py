"""An event reaches every observer that handles it, and costs nothing on its way to a single one."""

import pytest

from app.observability.metrics import Metrics
from app.observability.request_buffer import RequestBuffer
from app.observability.request_counts import RequestCounts
from app.observer import EVENTS, Observer, fan_out


class Recorder(Observer):
    def __init__(self, name: str, record: list[tuple[str, str]]) -> None:
        self._name = name
        self._record = record

    def client_limited(self, kind: str) -> None:
        self._record.append((self._name, kind))


def test_observers_get_an_event_in_their_order() -> None:
    record: list[tuple[str, str]] = []
    fan_out(Recorder("first", record), Observer(), Recorder("second", record)).client_limited("vmap")
    assert record == [("first", "vmap"), ("second", "vmap")]


def test_a_fan_out_can_be_fanned_out_again() -> None:
    record: list[tuple[str, str]] = []
    pair = fan_out(Recorder("first", record), Recorder("second", record))
    fan_out(pair, fan_out(Recorder("third", record))).client_limited("vmap")
    assert [name for name, _ in record] == ["first", "second", "third"]


def test_an_event_that_one_observer_handles_goes_straight_to_its_method() -> None:
    recorder = Recorder("only", [])
    assert fan_out(Observer(), recorder).client_limited == recorder.client_limited


def test_an_event_that_nobody_handles_is_ignored() -> None:
    fan_out(Observer(), Recorder("deaf", [])).token_refused()


@pytest.mark.parametrize("observer", [Metrics, RequestBuffer, RequestCounts])
def test_an_observer_has_no_method_that_looks_like_an_event_but_is_none(observer: type[Observer]) -> None:
    past = ("_finished", "_started", "_checked", "_changed", "_limited", "_ignored", "_refused", "_handled", "_settled")
    assert {name for name in vars(observer) if name.endswith(past) and name[0] != "_"} <= set(EVENTS)
