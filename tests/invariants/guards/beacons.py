"""I6: a beacon counts once, and a forged, altered or expired one never counts."""

from tests.invariants.guards.guard import SERVING_TABLES, TOKENS, TOKENS_TEST, Guard

WEB_BEACONS = "app/web/beacons.py"
BEACONS_TEST = "tests/integration/test_beacon_urls.py"
PREVIEWS = "app/serving/previews.py"
PREVIEWS_TEST = "tests/unit/serving/test_previews.py"

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
    Guard(
        "I6",
        "no beacon of a preview counts",
        PREVIEWS,
        "SERVED_AT = datetime.fromtimestamp(0, UTC)",
        "SERVED_AT = datetime.now(UTC)",
        f"{PREVIEWS_TEST}::test_no_token_of_a_preview_counts_and_its_click_leads_to_the_destination",
    ),
    Guard(
        "I6",
        "a preview link's tag",
        PREVIEWS,
        "if any(compare_digest(token, _token(key, payload)) for key in self._keys if key.id == key_id):",
        "if payload:",
        f"{PREVIEWS_TEST}::test_links_of_a_retired_key_are_good_and_those_of_another_server_are_not",
    ),
    Guard(
        "I6",
        "a preview link's expiry",
        PREVIEWS,
        "if expires <= now.timestamp():",
        "if False:",
        f"{PREVIEWS_TEST}::test_a_link_is_good_until_it_expires_and_not_a_second_longer",
    ),
]
