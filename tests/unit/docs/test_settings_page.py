from pathlib import Path

from app.settings import Settings
from docs.settings_page import page

DOCS = Path(__file__).parents[3] / "docs"


def test_the_page_of_settings_is_what_the_settings_are() -> None:
    assert (DOCS / "settings.md").read_text() == page()


def test_every_setting_says_what_it_sets() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_a_number_of_a_setting_has_a_unit_or_counts_something() -> None:
    units = ("_ms", "_s", "_bytes", "_max", "_connections", "_days", "port", "workers")
    numbers = [name for name, field in Settings.model_fields.items() if field.annotation is int]
    assert [name for name in numbers if not name.endswith(units)] == []
