"""CSV reports as spreadsheets open them."""

import csv
import io
from decimal import Decimal

import pytest

from app.accounting.reports import Cell, CsvWriter


def cells(*values: Cell) -> list[str]:
    """Return the cells of a row as a CSV reader sees them."""
    out = io.StringIO()
    CsvWriter(out, ["column"] * len(values)).write([values])
    out.seek(0)
    return list(csv.reader(out, strict=True))[1]


@pytest.mark.parametrize(
    "text",
    [
        '=HYPERLINK("https://evil.example","open")',
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "\uff1d1+1",
        "\uff0b1",
        "\uff0d1",
        "\uff20A1",
        '=1","=2',
    ],
)
def test_no_text_is_a_formula(text: str) -> None:
    assert cells(text, "USD") == [f"'{text}", "USD"]


def test_amounts_stay_numbers_and_other_text_stays_as_it_is() -> None:
    values = (Decimal("-1.520000"), -3, Decimal(0), None, "A=B", "'quoted'", "", "Ren\u00e9 & Co")
    assert cells(*values) == ["-1.520000", "-3", "0", "", "A=B", "'quoted'", "", "Ren\u00e9 & Co"]
