import pytest

from app.web.clients import read_cookies


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"uid=u1", {"uid": "u1"}),
        (b"uid=u1; device_id=d1; publisher_id=p1; theme=dark", {"uid": "u1", "device_id": "d1", "publisher_id": "p1"}),
        (b'uid="u 1"', {"uid": "u 1"}),
        (b"seen; uid=u1", {"uid": "u1"}),
        (b'basket={"a":1}; uid=u1', {"uid": "u1"}),
        ("städte=é; uid=u1".encode(), {"uid": "u1"}),
        (b"uid=", {}),
        (b"", {}),
    ],
)
def test_the_cookies_that_say_who_watches_are_found_among_whatever_else_a_browser_sends(
    header: bytes, expected: dict[str, str]
) -> None:
    assert read_cookies({b"cookie": header}) == expected


def test_without_cookies_nothing_is_told() -> None:
    assert read_cookies({}) == {}
