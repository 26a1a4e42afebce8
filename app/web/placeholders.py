"""Detection of placeholders, which senders use instead of a missing value, and of ids that many viewers share.

Players, apps and ad servers expand the macros of a tag URL in different ways, and leave unknown ones as they are. If
such a value counted as an id, all viewers who send it would be one viewer.
"""

import hashlib
import re
from collections.abc import Iterator
from string import punctuation, whitespace
from urllib.parse import unquote

WITHHELD = "-2"
"""The sender has the value but may not disclose it (VAST 4.2 section 6.1); -1 means that it has no value."""

NO_VALUE = frozenset({"-1", WITHHELD, "null", "nil", "undefined", "nan", "object object"})
"""Missing values as programming languages and VAST write them, in lower case without surrounding punctuation."""

NO_ID = NO_VALUE | {
    *("none", "unknown", "n/a", "not available", "not set", "not_set", "unset", "empty", "missing", "no_id", "noid"),
    *("anonymous", "anon", "guest", "nobody", "false", "true"),
    *("optout", "opt-out", "opt_out", "opted_out", "lat", "limited", "restricted", "redacted", "withheld"),
}
"""Words that are placeholders if an id is expected."""

ID_NAMES = frozenset(
    {
        *("userid", "uid", "uuid", "guid", "deviceid", "sessionid", "requestid"),
        *("ifa", "idfa", "idfv", "gaid", "aaid", "adid", "advertisingid"),
    }
)
"""Names of macros and parameters for ids, which some senders use as values; in lower case without punctuation."""

_NIL_UUID = "00000000-0000-0000-0000-000000000000"
SHARED_IDS = frozenset(
    {
        # The maximum UUID (RFC 9562 section 5.10), a template, and an Android id that a series of devices shares.
        *("f" * 32, "x" * 32, "9774d56d682e549c"),
        # The MAC address that iOS and Android report to every app.
        "020000000000",
        *(
            hashlib.new(algorithm, text.encode(), usedforsecurity=False).hexdigest()
            for algorithm in ("md5", "sha1", "sha256")
            for text in ("", "0", _NIL_UUID, _NIL_UUID.replace("-", ""), "null", "undefined", "unknown")
        ),
    }
)
"""Ids that many devices share, and hashes of missing ids; in lower case without dashes and colons."""

_SHARED_OR_PLACEHOLDER = NO_ID | SHARED_IDS | ID_NAMES

ZEROS_LENGTH_MIN = 16
"""Minimum length of an advertising id of zeros; fewer zeros are a number."""

ENCODED_TIMES_MAX = 3
"""Maximum number of times that a macro may be percent-encoded."""

_PUNCTUATION = punctuation + whitespace
_DELETE_PUNCTUATION = str.maketrans("", "", _PUNCTUATION)

_OPENING, _CLOSING = "[{<(%$#@!|*", "]}>)%$#@!|*"
_NAME = r"[A-Za-z_][A-Za-z0-9_.:| -]{0,99}"
_MACRO_NAME = re.compile(_NAME)
_MACRO_WITHIN = re.compile(rf"\[({_NAME})\]|\{{({_NAME})\}}|<({_NAME})>|(%%|\$\$|@@|##)({_NAME})\4")
_DELIMITER = re.compile(r"[\[{<%$@#]")
_HEXADECIMAL = re.compile(r"[0-9A-Fa-f-]{16,}")
"""An id in braces, as Windows writes a GUID, is not a macro."""
_BARE_MACRO = re.compile(r"ROKU_ADS_[A-Z_]+|(?:[A-Z]+_)+(?:ID|IFA|IDFA|GAID|UID|UUID|IDENTIFIER)(?:_[A-Z]+)*")


def is_placeholder(value: str) -> bool:
    """Return whether a value, not empty, is a placeholder: -1, -2, null, only punctuation, or a macro."""
    if value[0].isalnum():
        return value.lower() in NO_VALUE or value.startswith("ROKU_ADS_")
    return value in NO_VALUE or any(map(_means_no_value, _decodings(value)))


def is_withheld(value: str) -> bool:
    """Return whether a placeholder means that the viewer must not be identified.

    That is -2, and the id of zeros that Android and iOS report if tracking is limited.
    """
    return value == WITHHELD or (len(value) >= ZEROS_LENGTH_MIN and not value.strip("0-"))


def is_shared_or_placeholder_id(value: str) -> bool:
    """Return whether an id, not empty, is a placeholder, contains a macro, or is shared by many viewers."""
    # Nearly every id is alphanumeric, so that a few lookups decide.
    if value.isalnum():
        return value.lower() in _SHARED_OR_PLACEHOLDER or not value.strip("0")
    plain = value.replace("-", "")
    if plain.isalnum():
        return value in NO_VALUE or value.lower() in NO_ID or _is_shared(plain.lower())
    return value in NO_VALUE or any(map(_names_no_viewer, _decodings(value)))


def _means_no_value(text: str) -> bool:
    word = text.strip(_PUNCTUATION)
    return not word or word.lower() in NO_VALUE or _is_macro(text, word)


def _names_no_viewer(text: str) -> bool:
    word = text.strip(_PUNCTUATION)
    return (
        word.lower() in NO_ID
        or _is_shared(word.lower().translate(_DELETE_PUNCTUATION))
        or _is_macro(text, word)
        or (word.isupper() and _BARE_MACRO.fullmatch(word) is not None)
        or (_DELIMITER.search(text) is not None and _has_macro(text))
    )


def _is_shared(compact: str) -> bool:
    """Return whether an id, in lower case without punctuation, is shared by many viewers."""
    return compact in SHARED_IDS or compact in ID_NAMES or not compact.strip("0")


def _is_macro(text: str, word: str) -> bool:
    """Return whether the text is a macro; `word` is the text without its delimiters."""
    enclosed = text[0] in _OPENING and text[-1] in _CLOSING
    return (enclosed or (text.startswith("__") and text.endswith("__"))) and _is_name(word)


def _has_macro(text: str) -> bool:
    return any(_is_name(name) for groups in _MACRO_WITHIN.findall(text) for name in (*groups[:3], groups[4]) if name)


def _is_name(word: str) -> bool:
    return _MACRO_NAME.fullmatch(word) is not None and _HEXADECIMAL.fullmatch(word) is None


def _decodings(value: str) -> Iterator[str]:
    """Yield the value, and its percent-decoded forms."""
    yield value
    for _ in range(ENCODED_TIMES_MAX):
        decoded = unquote(value)
        if decoded == value:
            return
        value = decoded
        yield value
