"""Every answer that a test gets is held against the schema of its version and the linter, as soon as it is read."""

import re
from functools import lru_cache

from lxml import etree

from tests.unit.vast.conftest import REFERENCE, lint_errors, schema_faults

TOKEN, SERVING_ID = re.compile(rb"\?t=[\w.-]+"), re.compile(rb"<AdServingId>[\w-]+")
"""By which answers differ that are otherwise the same, of which one is enough."""


def assert_valid(body: bytes) -> None:
    """Raises AssertionError unless the VAST document, or each in a VMAP document, is valid."""
    faults = _faults(SERVING_ID.sub(b"<AdServingId>0", TOKEN.sub(b"?t=0", body)))
    assert not faults, f"{faults}\n{body.decode()}"


@lru_cache(4096)
def _faults(document: bytes) -> list[str]:
    faults = []
    for vast in etree.fromstring(document).iter("VAST", "{*}VAST"):
        alone = etree.tostring(vast, with_tail=False)
        faults += lint_errors(alone) + (schema_faults(alone) if REFERENCE else [])
    return faults
