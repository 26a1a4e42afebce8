"""A document compiled once to static parts and named gaps, so that serving it only joins strings."""

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from sys import getsizeof
from typing import Self

_NONCE = secrets.token_hex(8)
"""Nobody outside the process can know it, so no upstream document can hold a gap of its own making."""

TEMPLATE_BYTES = 600
GAP_BYTES = 80
"""What a template and each of its gaps take beside the text."""

_GAP = re.compile(rf"gap\.{_NONCE}\.(\w+)\.", re.ASCII)

_BYTE_FOR_BYTE = "latin-1"
"""UTF-8 read as Latin-1 has one character a byte: values are ASCII, and encoding back is a plain copy."""


def placeholder(name: str) -> str:
    """The text that stands for the gap `name` until the document is compiled."""
    return f"gap.{_NONCE}.{name}."


@dataclass(frozen=True, slots=True)
class ResponseTemplate:
    """A VAST document or an Ad fragment in UTF-8; `render` fills its `gaps`."""

    gaps: frozenset[str]
    _skeleton: tuple[str, ...] = field(repr=False)
    _pick: Callable[[Mapping[str, str]], Iterable[str]] = field(repr=False, compare=False)

    @classmethod
    def compile(cls, document: bytes) -> Self:
        """Cuts the UTF-8 `document` at every text that `gap` made."""
        skeleton = tuple(_GAP.split(document.decode(_BYTE_FOR_BYTE)))
        return cls(frozenset(skeleton[1::2]), skeleton, _picker(skeleton[1::2]))

    @property
    def size_bytes(self) -> int:
        """The memory that it takes, about: gaps share their names with those of every other template."""
        return TEMPLATE_BYTES + sum(map(getsizeof, self._skeleton[::2])) + GAP_BYTES * (len(self._skeleton) // 2)

    def render(self, values: Mapping[str, str]) -> bytes:
        """The document with its gaps filled.

        Values are inserted as they are: they must be ASCII and need no escaping. Names without a gap are ignored;
        raises KeyError for a gap without a value.
        """
        parts = list(self._skeleton)
        parts[1::2] = self._pick(values)
        return "".join(parts).encode(_BYTE_FOR_BYTE)


def _picker(names: tuple[str, ...]) -> Callable[[Mapping[str, str]], Iterable[str]]:
    """`itemgetter` is several times faster than a loop, but for a single name it gives no tuple."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda values: [values[name] for name in names]
