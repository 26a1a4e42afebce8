import pytest

from app.serving import recent_refusals
from app.serving.recent_refusals import RecentRefusals
from tests.fake_clock import FakeClock


async def test_a_refusal_is_remembered_until_it_expires() -> None:
    clock = FakeClock()
    refusals = RecentRefusals(clock.time)
    assert not refusals.contains("a")
    refusals.add("a", ttl_s=2)
    assert refusals.contains("b", "a")
    assert not refusals.contains("b")
    await clock.advance(2)
    assert refusals.contains("a")
    await clock.advance(0.001)
    assert not refusals.contains("a")


def test_at_the_limit_the_oldest_refusal_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_refusals, "REFUSALS_MAX", 2)
    refusals = RecentRefusals(FakeClock().time)
    for key in "abc":
        refusals.add(key, ttl_s=60)
    assert [refusals.contains(key) for key in "abc"] == [False, True, True]
