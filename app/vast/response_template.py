"""Templates: documents compiled once into static parts and placeholders, so that serving only joins strings."""

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from sys import getsizeof
from typing import Self

_NONCE = secrets.token_hex(8)
"""Secret, so that no upstream document can contain a placeholder."""

TEMPLATE_BYTES = 600
PLACEHOLDER_BYTES = 80
"""The memory of a template and of each of its placeholders besides the text."""

_PLACEHOLDER = re.compile(rf"placeholder\.{_NONCE}\.(\w+)\.", re.ASCII)

_BYTE_FOR_BYTE = "latin-1"
"""UTF-8 decoded as Latin-1 has one character per byte: values are ASCII, and encoding is a plain copy."""


def placeholder(name: str) -> str:
    """Return the text that marks the placeholder `name` in a document to be compiled."""
    return f"placeholder.{_NONCE}.{name}."


@dataclass(frozen=True, slots=True)
class ResponseTemplate:
    """A VAST document or an Ad in UTF-8; `render` replaces its `placeholders`."""

    placeholders: frozenset[str]
    _skeleton: tuple[str, ...] = field(repr=False)
    _select: Callable[[Mapping[str, str]], Iterable[str]] = field(repr=False, compare=False)

    @classmethod
    def compile(cls, document: bytes) -> Self:
        """Split the UTF-8 `document` at its placeholders."""
        skeleton = tuple(_PLACEHOLDER.split(document.decode(_BYTE_FOR_BYTE)))
        return cls(frozenset(skeleton[1::2]), skeleton, _selector(skeleton[1::2]))

    @property
    def size_bytes(self) -> int:
        """Its approximate memory in bytes; the names of placeholders are shared by all templates."""
        return (
            TEMPLATE_BYTES + sum(map(getsizeof, self._skeleton[::2])) + PLACEHOLDER_BYTES * (len(self._skeleton) // 2)
        )

    def render(self, values: Mapping[str, str]) -> bytes:
        """Return the document with its placeholders replaced.

        Values are inserted unchanged: they must be ASCII and must not need escaping. Values without a placeholder are
        ignored. Raises KeyError for a placeholder without a value.
        """
        parts = list(self._skeleton)
        parts[1::2] = self._select(values)
        return "".join(parts).encode(_BYTE_FOR_BYTE)


def _selector(names: tuple[str, ...]) -> Callable[[Mapping[str, str]], Iterable[str]]:
    """Return a function that selects the values; `itemgetter` is fast, but returns no tuple for a single name."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda values: [values[name] for name in names]
