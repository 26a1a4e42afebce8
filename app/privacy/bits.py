"""Decoder of the base64url strings of the IAB frameworks: six bits per letter."""

from collections.abc import Mapping

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_BITS: Mapping[str, str] = {letter: f"{index:06b}" for index, letter in enumerate(_ALPHABET)}


class UnreadableBitsError(ValueError):
    """The text contains a letter outside the alphabet."""


def decode_bits(text: str) -> str:
    """Return the bits as text of zeros and ones. Raises UnreadableBitsError."""
    try:
        return "".join([_BITS[letter] for letter in text])
    except KeyError:
        raise UnreadableBitsError from None
