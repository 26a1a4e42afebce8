"""I6: a beacon counts once, and a forged, altered or expired one never counts."""

from tests.invariants.guards.guard import SERVING_TABLES, TOKENS, TOKENS_TEST, Guard

WEB_BEACONS = "app/web/beacons.py"
BEACONS_TEST = "tests/integration/test_beacon_urls.py"

BEACONS_GUARDS = [
    Guard(
        "I6",
        "the key of ad_events",
        SERVING_TABLES,
        'PrimaryKeyConstraint("request_key", "slot", "served_on", "event"),',
        "",
        f"{BEACONS_TEST}::test_every_event_is_recorded_once_and_answered_with_a_pixel",
    ),
    Guard(
        "I6",
        "a token's tag",
        TOKENS,
        'if compare_digest(token, f"{canonical}.{_tag(key.tag_key, payload, event).hex()}"):',
        "if canonical:",
        f"{BEACONS_TEST}::test_a_forged_altered_or_expired_beacon_gets_its_pixel_and_never_counts",
    ),
    Guard(
        "I6",
        "a tag is valid for one event",
        TOKENS,
        "return digest[place * TAG_BYTES : (place + 1) * TAG_BYTES]",
        "return digest[:TAG_BYTES]",
        f"{TOKENS_TEST}::test_every_event_has_a_token_that_says_which_serve_it_is_of",
    ),
    Guard(
        "I6",
        "a token's expiry",
        TOKENS,
        "return ref if ref is not None and ref.expires_at > now else None",
        "return ref",
        f"{BEACONS_TEST}::test_a_forged_altered_or_expired_beacon_gets_its_pixel_and_never_counts",
    ),
    Guard(
        "I6",
        "a click after its expiry is not counted",
        WEB_BEACONS,
        "if ref.expires_at <= datetime.now(UTC):",
        "if False:",
        f"{BEACONS_TEST}::test_a_click_leads_on_after_its_time_and_is_not_counted",
    ),
]
