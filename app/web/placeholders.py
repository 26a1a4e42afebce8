"""Values that say nothing: what senders put where they have no value, and ids that many viewers share.

Players, apps and ad servers fill the macros of a tag URL in each in its own way, and leave those that they do not know
as they are. Counted as an id, such a value makes one viewer of everybody who sends it.
"""

import hashlib
import re
from collections.abc import Iterator
from string import punctuation, whitespace
from urllib.parse import unquote

WITHHELD = "-2"
"""VAST 4.2 section 6.1: the sender knows the value and may not tell it. -1 says that the sender does not know it."""

NO_VALUE = frozenset({"-1", WITHHELD, "null", "nil", "undefined", "nan", "object object"})
"""What programming languages and VAST write for no value; without the punctuation around it, in lower case."""

NO_ID = NO_VALUE | {
    *("none", "unknown", "n/a", "not available", "not set", "not_set", "unset", "empty", "missing", "no_id", "noid"),
    *("anonymous", "anon", "guest", "nobody", "false", "true"),
    *("optout", "opt-out", "opt_out", "opted_out", "lat", "limited", "restricted", "redacted", "withheld"),
}
"""Words that name nobody where an id is expected."""

ID_NAMES = frozenset(
    {
        *("userid", "uid", "uuid", "guid", "deviceid", "sessionid", "requestid"),
        *("ifa", "idfa", "idfv", "gaid", "aaid", "adid", "advertisingid"),
    }
)
"""Names of macros and parameters for ids, which are sent without brackets too; without punctuation, in lower case."""

_NIL_UUID = "00000000-0000-0000-0000-000000000000"
SHARED_IDS = frozenset(
    {
        # The UUID of ones (RFC 9562 section 5.10), a template's, and the same Android id of a whole series of devices.
        *("f" * 32, "x" * 32, "9774d56d682e549c"),
        # The MAC address that iOS and Android tell every app.
        "020000000000",
        *(
            hashlib.new(algorithm, text.encode(), usedforsecurity=False).hexdigest()
            for algorithm in ("md5", "sha1", "sha256")
            for text in ("", "0", _NIL_UUID, _NIL_UUID.replace("-", ""), "null", "undefined", "unknown")
        ),
    }
)
"""Ids that are many devices' at once, and the hashes of no id; without dashes and colons, in lower case."""

_NOBODY = NO_ID | SHARED_IDS | ID_NAMES

ZEROS_LENGTH_MIN = 16
"""Of an advertising id, in characters; shorter zeros are a number."""

ENCODED_TIMES_MAX = 3
"""How often a macro may have been percent-encoded on its way."""

_MARKS = punctuation + whitespace
_WITHOUT_MARKS = str.maketrans("", "", _MARKS)

_OPENING, _CLOSING = "[{<(%$#@!|*", "]}>)%$#@!|*"
_NAME = r"[A-Za-z_][A-Za-z0-9_.:| -]{0,99}"
_MACRO_NAME = re.compile(_NAME)
_MACRO_WITHIN = re.compile(rf"\[({_NAME})\]|\{{({_NAME})\}}|<({_NAME})>|(%%|\$\$|@@|##)({_NAME})\4")
_DELIMITER = re.compile(r"[\[{<%$@#]")
_HEXADECIMAL = re.compile(r"[0-9A-Fa-f-]{16,}")
"""An id in braces, as Windows writes a GUID, is no macro."""
_BARE_MACRO = re.compile(r"ROKU_ADS_[A-Z_]+|(?:[A-Z]+_)+(?:ID|IFA|IDFA|GAID|UID|UUID|IDENTIFIER)(?:_[A-Z]+)*")


def is_placeholder(value: str) -> bool:
    """Whether a value, not empty, means no value: -1, -2, null, nothing but punctuation, or a macro."""
    if value[0].isalnum():
        return value.lower() in NO_VALUE or value.startswith("ROKU_ADS_")
    return value in NO_VALUE or any(map(_is_nothing, _decodings(value)))


def is_withheld(value: str) -> bool:
    """Whether a value that names nobody says that the viewer may not be told from others.

    That is -2, and the id of zeros that Android and iOS give where tracking is limited.
    """
    return value == WITHHELD or (len(value) >= ZEROS_LENGTH_MIN and not value.strip("0-"))


def is_shared_or_placeholder_id(value: str) -> bool:
    """Whether an id, not empty, is nobody's: it says nothing, has a macro in it, or is shared by many viewers."""
    # Nearly every id is plain: then a few look-ups decide.
    if value.isalnum():
        return value.lower() in _NOBODY or not value.strip("0")
    plain = value.replace("-", "")
    if plain.isalnum():
        return value in NO_VALUE or value.lower() in NO_ID or _is_shared(plain.lower())
    return value in NO_VALUE or any(map(_is_nobody, _decodings(value)))


def _is_nothing(text: str) -> bool:
    word = text.strip(_MARKS)
    return not word or word.lower() in NO_VALUE or _is_macro(text, word)


def _is_nobody(text: str) -> bool:
    word = text.strip(_MARKS)
    return (
        word.lower() in NO_ID
        or _is_shared(word.lower().translate(_WITHOUT_MARKS))
        or _is_macro(text, word)
        or (word.isupper() and _BARE_MACRO.fullmatch(word) is not None)
        or (_DELIMITER.search(text) is not None and _has_macro(text))
    )


def _is_shared(compact: str) -> bool:
    """Of an id in lower case and without punctuation."""
    return compact in SHARED_IDS or compact in ID_NAMES or not compact.strip("0")


def _is_macro(text: str, word: str) -> bool:
    """Whether the text is a macro; `word` is what is in its brackets."""
    enclosed = text[0] in _OPENING and text[-1] in _CLOSING
    return (enclosed or (text.startswith("__") and text.endswith("__"))) and _is_name(word)


def _has_macro(text: str) -> bool:
    return any(_is_name(name) for groups in _MACRO_WITHIN.findall(text) for name in (*groups[:3], groups[4]) if name)


def _is_name(word: str) -> bool:
    return _MACRO_NAME.fullmatch(word) is not None and _HEXADECIMAL.fullmatch(word) is None


def _decodings(value: str) -> Iterator[str]:
    """The value, and what it was before it was percent-encoded."""
    yield value
    for _ in range(ENCODED_TIMES_MAX):
        decoded = unquote(value)
        if decoded == value:
            return
        value = decoded
        yield value
