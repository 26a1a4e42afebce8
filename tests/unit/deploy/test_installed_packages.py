"""What the lock files name, as it was installed here."""

import re
from importlib.metadata import distributions

BUILT_HERE = re.compile(r"^Tag: .*-linux_\w+$", re.MULTILINE)
"""Published wheels for Linux are tagged manylinux or musllinux; only one that was compiled here says linux."""


def test_no_package_needs_a_compiler() -> None:
    compiled = [each.name for each in distributions() if BUILT_HERE.search(each.read_text("WHEEL") or "")]
    assert compiled == []
