"""The reference data of the VAST standard, and what its documents are checked with."""

import os
import re
from functools import cache
from pathlib import Path

import pytest
import vastlint
from lxml import etree

from app.domain import Event

BASE_URL = "http://ads.example"
TOKENS = {event.value: f"t-{event}_x.0f" for event in Event}
VALUES = {**TOKENS, "ad_serving_id": "adserver-0199f3a0", "sequence": "7"}

SCHEMA_FILES = {
    "2.0": "vast_2.0.1.xsd",
    "3.0": "vast3_draft.xsd",
    "4.0": "vast4.xsd",
    "4.1": "vast_4.1.xsd",
    "4.2": "vast_4.2.xsd",
}


def reference_dir() -> Path | None:
    """VAST_REFERENCE_DIR, or shared/vast beside the checkout; None where there is neither."""
    beside = Path(__file__).parents[4] / "shared" / "vast"
    found = Path(os.environ.get("VAST_REFERENCE_DIR") or beside)
    return found if found.is_dir() else None


REFERENCE = reference_dir()
needs_reference = pytest.mark.skipif(REFERENCE is None, reason="VAST reference data is absent (VAST_REFERENCE_DIR)")
SAMPLES = sorted((REFERENCE / "samples").glob("*.xml")) if REFERENCE else []


@cache
def schema(version: str) -> etree.XMLSchema:
    assert REFERENCE is not None
    return etree.XMLSchema(etree.parse(REFERENCE / "xsd" / SCHEMA_FILES[version]))


def with_macros_filled(document: bytes) -> bytes:
    """As a player fills them: a bracket is no URI character for the validator, so a macro is no xs:anyURI yet."""
    return re.sub(rb"\[[A-Z]+\]", b"900", document)


def schema_faults(document: bytes) -> list[str]:
    """What the schema of the document's own version finds; empty for one without a schema."""
    root = etree.fromstring(with_macros_filled(document))
    version = root.get("version")
    if version not in SCHEMA_FILES:
        return []
    checker = schema(version)
    checker.validate(root)
    return [str(fault.message) for fault in checker.error_log]


def lint_errors(document: bytes) -> list[str]:
    return [issue.id for issue in vastlint.validate(document).issues if issue.severity == "error"]


def outline(element: etree._Element, path: str = "") -> list[tuple[str, tuple[tuple[str, str], ...], str]]:
    """Every element in document order: its path, its attributes, its own text."""
    path = f"{path}/{element.tag}"
    here = (path, tuple(sorted(element.attrib.items())), (element.text or "").strip())
    return [here, *(line for child in element.iterchildren(etree.Element) for line in outline(child, path))]


def texts(document: bytes, name: str) -> list[str]:
    """The texts of all elements of that name, whatever their namespace."""
    return [(found.text or "").strip() for found in etree.fromstring(document).iter(f"{{*}}{name}")]
