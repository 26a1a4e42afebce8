from base64 import urlsafe_b64decode
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain import ID_LENGTH_MAX, URL_BYTES_MAX, Event
from app.serving.tokens import TokenSigner

SERVED_AT = datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC)
REQUEST = UUID("0198a3f0-0000-7000-8000-000000000001")
TTL_S = 3600

signer = TokenSigner(["secret"], TTL_S)


def payload_of(token: str) -> bytes:
    """The part of a token that is readable without the key."""
    text = token.partition(".")[0]
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_every_event_has_a_token_that_says_which_serve_it_is_of() -> None:
    tokens = signer.sign_all(REQUEST, 2, SERVED_AT, "campaign")
    assert set(tokens) == set(Event)
    for event in Event:
        ref = signer.verify(tokens[event], event, SERVED_AT)
        assert ref is not None
        assert (ref.request_key, ref.slot, ref.served_on) == (REQUEST, 2, SERVED_AT.date())
        assert (ref.campaign_id, ref.destination) == ("campaign", None)


def test_a_token_is_good_for_its_own_event_only() -> None:
    tokens = signer.sign_all(REQUEST, 0, SERVED_AT, "campaign")
    for event in Event:
        for other in Event:
            assert (signer.verify(tokens[event], other, SERVED_AT) is None) == (event is not other)


def test_a_token_is_good_until_it_expires_and_not_a_second_longer() -> None:
    token = signer.sign_all(REQUEST, 0, SERVED_AT, "campaign")["impression"]
    end = SERVED_AT + timedelta(seconds=TTL_S)
    assert signer.verify(token, Event.IMPRESSION, end - timedelta(microseconds=1)) is not None
    assert signer.verify(token, Event.IMPRESSION, end) is None


def test_no_character_of_a_click_token_can_be_changed_or_added_or_left_out() -> None:
    token = signer.sign_all(REQUEST, 0, SERVED_AT, "campaign", "https://acme.example/?a=b")["click"]
    ref = signer.verify(token, Event.CLICK, SERVED_AT)
    assert ref is not None
    assert ref.destination == "https://acme.example/?a=b"
    for at in range(len(token)):
        for character in "Aa0_-. =é":
            if token[at] != character:
                assert signer.verify(token[:at] + character + token[at + 1 :], Event.CLICK, SERVED_AT) is None
            assert signer.verify(token[:at] + character + token[at:], Event.CLICK, SERVED_AT) is None
        assert signer.verify(token[:at] + token[at + 1 :], Event.CLICK, SERVED_AT) is None
        assert signer.verify(token[:at] + token[at].swapcase() + token[at + 1 :], Event.CLICK, SERVED_AT) is None or (
            token[at].swapcase() == token[at]
        )


@settings(max_examples=200)
@given(campaign_id=st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=128), path=st.text("ab/?="))
def test_whatever_the_campaign_and_the_destination_are_called_they_come_back_and_cannot_be_read(
    campaign_id: str, path: str
) -> None:
    destination = f"https://acme.example/{path}"
    token = signer.sign_all(REQUEST, 0, SERVED_AT, campaign_id, destination)["click"]
    ref = signer.verify(token, Event.CLICK, SERVED_AT)
    assert ref is not None
    assert (ref.campaign_id, ref.destination) == (campaign_id, destination)
    assert b"acme.example" not in payload_of(token)


def test_nobody_without_the_key_can_read_whose_ad_it_is_or_where_a_click_leads() -> None:
    tokens = signer.sign_all(REQUEST, 0, SERVED_AT, "campaign", "https://acme.example/?a=b")
    for token in tokens.values():
        assert not any(word in payload_of(token) for word in (b"camp", b"acme", b"http"))
    assert len({payload_of(token)[24:] for event, token in tokens.items() if event != "click"}) == 1
    others = TokenSigner(["other"], TTL_S).sign_all(REQUEST, 0, SERVED_AT, "campaign")
    assert payload_of(others["start"])[24:] != payload_of(tokens["start"])[24:]


def test_two_requests_have_no_token_in_common() -> None:
    another = UUID(int=REQUEST.int + 1)
    tokens = [signer.sign_all(key, 0, SERVED_AT, "campaign").values() for key in (REQUEST, another)]
    assert not set(tokens[0]) & set(tokens[1])


@pytest.mark.parametrize(
    ("event", "token", "destination"),
    [
        (Event.IMPRESSION, "5Wmk4Q9QIQIBmKPwAABwAIAAAAAAAAABY2FtcGFpZ24.c0502d95446a2afd", None),
        (
            Event.CLICK,
            "5Wmk4Q9QIQIBmKPwAABwAIAAAAAAAAABY2FtcGFpZ24AaHR0cHM6Ly9hY21lLmV4YW1wbGUvP2E9Yg.d13a93c8ace78f94",
            "https://acme.example/?a=b",
        ),
    ],
)
def test_a_token_from_before_subjects_were_sealed_is_good_until_it_expires(
    event: Event, token: str, destination: str | None
) -> None:
    ref = signer.verify(token, event, SERVED_AT)
    assert ref is not None
    assert (ref.request_key, ref.slot, ref.campaign_id, ref.destination) == (REQUEST, 2, "campaign", destination)
    assert signer.verify(token, Event.START, SERVED_AT) is None
    assert signer.verify(token, event, SERVED_AT + timedelta(seconds=TTL_S)) is None
    assert TokenSigner(["other"], TTL_S).verify(token, event, SERVED_AT) is None


def test_a_click_token_has_room_for_the_longest_destination_and_campaign_id() -> None:
    campaign_id, destination = "\U0001f339" * ID_LENGTH_MAX, "https://acme.example/".ljust(URL_BYTES_MAX, "x")
    token = signer.sign_all(REQUEST, 0, SERVED_AT, campaign_id, destination)["click"]
    ref = signer.verify(token, Event.CLICK, SERVED_AT)
    assert ref is not None
    assert (ref.campaign_id, ref.destination) == (campaign_id, destination)


@pytest.mark.parametrize("token", ["", ".", "a", "a.b", "=" * 40, "A" * 90_000, "\x00", "é.ü", "AAAA.", ".00"])
def test_what_is_no_token_refers_to_nothing(token: str) -> None:
    assert signer.verify(token, Event.CLICK, SERVED_AT) is None


def test_a_token_of_another_secret_refers_to_nothing_and_of_a_retired_one_still_counts() -> None:
    token = signer.sign_all(REQUEST, 0, SERVED_AT, "campaign")["start"]
    assert TokenSigner(["other"], TTL_S).verify(token, Event.START, SERVED_AT) is None
    rotated = TokenSigner(["other", "secret"], TTL_S)
    assert rotated.verify(token, Event.START, SERVED_AT) is not None
    assert rotated.sign_all(REQUEST, 0, SERVED_AT, "campaign")["start"] != token


def test_a_retired_secret_counts_although_its_key_has_the_id_of_the_newest() -> None:
    """A key's id is one byte, so that of 257 secrets two have the same."""
    by_id: dict[bytes, str] = {}
    for secret in map(str, range(257)):
        token = TokenSigner([secret], TTL_S).sign_all(REQUEST, 0, SERVED_AT, "campaign")["start"]
        key_id = urlsafe_b64decode(token[:4])[:1]
        if key_id in by_id:
            break
        by_id[key_id] = secret
    assert TokenSigner([by_id[key_id], secret], TTL_S).verify(token, Event.START, SERVED_AT) is not None
