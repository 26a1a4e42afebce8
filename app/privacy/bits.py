"""The bits of a base64url string, as the strings of the IAB's frameworks hold them: six a letter."""

from collections.abc import Mapping

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_BITS: Mapping[str, str] = {letter: f"{index:06b}" for index, letter in enumerate(_ALPHABET)}


class UnreadableBitsError(ValueError):
    """A letter that is not in the alphabet."""


def bits_of(text: str) -> str:
    """The bits, as zeros and ones. Raises UnreadableBitsError."""
    try:
        return "".join([_BITS[letter] for letter in text])
    except KeyError:
        raise UnreadableBitsError from None
