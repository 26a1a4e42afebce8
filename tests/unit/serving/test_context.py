import pytest
import structlog

from app.serving.context import open_context


def test_a_context_has_what_belongs_to_one_request() -> None:
    first, second = (open_context(request_id, {"uid": "u"}) for request_id in ("a", "b"))
    assert (first.request_id, first.cookies) == ("a", {"uid": "u"})
    assert first.timestamp.utcoffset() is not None
    assert len(first.cachebusting) == 8
    assert first.cachebusting.isdigit()
    assert first.correlator != second.correlator


def test_nothing_in_a_context_can_be_changed() -> None:
    with pytest.raises(AttributeError):
        open_context("a", {}).request_id = "b"  # type: ignore[misc]


def test_it_is_closed_whatever_happens_and_a_failing_clean_up_is_logged_and_not_raised() -> None:
    closed: list[str] = []

    def fail() -> None:
        closed.append("second")
        raise RuntimeError("disk full")

    def answer() -> None:
        with open_context("a", {}) as context:
            context.on_close(lambda: closed.append("third"))
            context.on_close(fail)
            context.on_close(lambda: closed.append("first"))
            raise ValueError("no answer")

    with structlog.testing.capture_logs() as lines, pytest.raises(ValueError, match="no answer"):
        answer()
    assert closed == ["first", "second", "third"]
    assert [(line["event"], line["request_id"]) for line in lines] == [("cleanup_failed", "a")]
