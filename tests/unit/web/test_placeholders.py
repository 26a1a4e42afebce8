"""Values that say nothing, and ids that are nobody's."""

import hashlib

import pytest

from app.web.placeholders import is_placeholder, is_shared_or_placeholder_id

ZERO = "00000000-0000-0000-0000-000000000000"

MACROS = [
    *("[UUID]", "[[UUID]]", "[session.id]", "[%uid%]", "{user_id}", "{{device_id}}", "{{ device.id }}", "{{{id}}}"),
    *("{$uid}", "{%uid%}", "${USER_ID}", "${{USER_ID}}", "$(uid)", "$[uid]", "$$IFA$$", "$IFA$", "#{id}", "##ID##"),
    *("%%ADVERTISING_IDENTIFIER_PLAIN%%", "%UID%", "%{id}", "<uid>", "<<uid>>", "<%= uid %>", "@@UID@@", "@{id}"),
    *("__UID__", "*|UID|*", "!!uid!!", "{{user_id|default}}", "[object Object]"),
    *("%7Bdevice_id%7D", "%5BUUID%5D", "%255BUUID%255D", "%25%25UID%25%25", "%3Cuid%3E", "%24%7BUSER_ID%7D"),
    *("ROKU_ADS_TRACKING_ID", "ROKU_ADS_LIMIT_TRACKING"),
]
NO_VALUES = [
    *("-1", "-2", "null", "NULL", "(null)", "<null>", '"null"', "nil", "undefined", "Undefined", "NaN"),
    *("{}", "[]", "()", "<>", '""', "''", "-", "--", "?", "*", "{ }", "%5B%5D", "%7B%7D", "%22%22"),
]
SHARED = [
    *("0", "00", "0000000000", "0.0", "0-0", "%30", ZERO, ZERO.replace("-", ""), f"{{{ZERO}}}", "0.0.0.0"),
    *("00:00:00:00:00:00", "02:00:00:00:00:00", "ffffffff-ffff-ffff-ffff-ffffffffffff", "F" * 32),
    *("XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX", "9774d56d682e549c"),
    *(hashlib.new(name, ZERO.encode()).hexdigest() for name in ("md5", "sha1", "sha256")),
    *(hashlib.new(name, b"").hexdigest().upper() for name in ("md5", "sha1", "sha256")),
    *(
        "none",
        "None",
        "unknown",
        "UNKNOWN",
        "N/A",
        "n/a",
        "not available",
        "(not set)",
        "anonymous",
        "optout",
        "OPT-OUT",
    ),
    *("true", "false", "user_id", "USER_ID", "userId", "$USER_ID", ":device_id", "DEVICE_ID", "IDFA", "gaid"),
    *("ADVERTISING_IDENTIFIER_PLAIN", "u-[UUID]", "tv:{device_id}", "roku-%%ID%%", "a%7Buid%7D", "x<uid>y", "$$id$$-1"),
]
IDS = [
    *("u1", "alice", "10", "0a", "00-1", "1-0", "user:1", "a@b.example", "a.b_c", "auth0|5f7c8ec7", "JOHN_SMITH"),
    *("6f9619ff-8b86-d011-b42d-00cf4fc964ff", "{6F9619FF-8B86-D011-B42D-00CF4FC964FF}"),
    *("{AF9619FF-8B86-D011-B42D-00CF4FC964FF}", "[af9619ff8b86d011b42d00cf4fc964ff]"),
    *("$RCAnonymousID:87c6049c58069238dce29853916d624c", "$device:18b6c2", "_abc_", "-abc-", "Zm9vYmFy==", "50%"),
    *(
        "nullable",
        "unknown-1",
        "-10",
        "-3",
        "1.5",
        "ü",
        "用户",
        "x" * 20,
        "1111111111",
        '{"id":"a1"}',
        '"u1"',
        "GA1.2.3.4",
    ),
]


@pytest.mark.parametrize("value", [*MACROS, *NO_VALUES, *SHARED])
def test_an_id_that_many_share_is_nobodys(value: str) -> None:
    assert is_shared_or_placeholder_id(value)


@pytest.mark.parametrize("value", IDS)
def test_an_id_is_not_taken_for_a_placeholder(value: str) -> None:
    assert not is_shared_or_placeholder_id(value)


@pytest.mark.parametrize("value", [*MACROS, *NO_VALUES])
def test_a_text_that_stands_in_for_none_says_nothing(value: str) -> None:
    assert is_placeholder(value)


@pytest.mark.parametrize(
    "value",
    [
        *("drama", "none", "unknown", "0", "1---", "1YNN", "a [b]", "{a} b", "ctv", "nullable"),
        *("https://page.example/?a=[b]&c={d}", "Roku/DVP-9.10 (519.10E04111A)", "com.example.app"),
    ],
)
def test_a_text_that_says_something_is_kept_whole(value: str) -> None:
    assert not is_placeholder(value)
