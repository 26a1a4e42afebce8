from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.vast.durations import format_duration, parse_duration_s


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("00:00:30", 30.0),
        (" 00:00:30.500 ", 30.5),
        ("00:00:30,5", 30.5),
        ("00:00:30:500", 30.5),
        ("0:0:30", 30.0),
        ("100:00:00", 360_000.0),
        ("00:30", 30.0),
        ("1:30", 90.0),
        ("30", 30.0),
        ("30.5", 30.5),
        ("30s", 30.0),
        ("30 sec", 30.0),
        ("30500ms", 30.5),
        ("PT30S", 30.0),
        ("PT1M30.5S", 90.5),
        ("pt1h", 3600.0),
        ("0", 0.0),
    ],
)
def test_every_spelling_of_a_length_is_read(text, expected):
    assert parse_duration_s(text) == expected


@pytest.mark.parametrize(
    "text", ["", "soon", "PT", "-5", "00:00:", "1:2:3:4", "00:00:1\N{ARABIC-INDIC DIGIT FIVE}", "9" * 40]
)
def test_what_is_no_length_is_unknown(text):
    assert parse_duration_s(text) is None


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(15, "00:00:15"), (Decimal("29.970"), "00:00:29.970"), (Decimal("3725.005"), "01:02:05.005")],
)
def test_a_duration_has_milliseconds_only_where_it_needs_them(seconds, expected):
    assert format_duration(seconds) == expected


@given(st.decimals(0, 21_600, places=3))
def test_a_duration_is_read_as_it_was_written(seconds):
    assert parse_duration_s(format_duration(seconds)) == seconds
