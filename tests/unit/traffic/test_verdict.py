"""Why a request is invalid, by what its sender says about the viewer."""

import pytest

from app.domain import Client
from app.traffic.verdict import InvalidReason, find_invalidity
from app.web.clients import ClientReader
from tests.unit.traffic.players import PLAYERS

CHROME = PLAYERS[0]
BOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
LIBRARY = "Go-http-client/1.1"


def player(headers: dict[bytes, bytes]) -> Client:
    return ClientReader([]).read("203.0.113.7", {b"user-agent": CHROME.encode()} | headers)


def stitcher(user_agent: str | None = LIBRARY, **headers: bytes) -> Client:
    named = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    return Client("192.0.2.1", user_agent, is_trusted=True, headers=named)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, None),
        ({b"user-agent": b""}, InvalidReason.NO_USER_AGENT),
        ({b"user-agent": b"  "}, InvalidReason.NO_USER_AGENT),
        ({b"user-agent": b"-"}, InvalidReason.IMPOSSIBLE_USER_AGENT),
        ({b"user-agent": BOT.encode()}, InvalidReason.KNOWN_BOT),
        ({b"user-agent": LIBRARY.encode()}, InvalidReason.KNOWN_BOT),
        ({b"sec-purpose": b"prefetch"}, InvalidReason.PREFETCH),
        ({b"sec-purpose": b"prefetch;prerender"}, InvalidReason.PREFETCH),
        ({b"sec-purpose": b"Prefetch;anonymous-client-ip"}, InvalidReason.PREFETCH),
        ({b"purpose": b"prefetch"}, InvalidReason.PREFETCH),
        ({b"purpose": b" PREVIEW "}, InvalidReason.PREFETCH),
        ({b"x-purpose": b"preview"}, InvalidReason.PREFETCH),
        ({b"x-moz": b"prefetch"}, InvalidReason.PREFETCH),
        ({b"purpose": b"playback"}, None),
        ({b"purpose": b"no-previews"}, None),
        ({b"x-moz": b""}, None),
    ],
)
def test_a_player_is_judged_by_its_own_headers(headers: dict[bytes, bytes], reason: InvalidReason | None) -> None:
    assert find_invalidity({}, player(headers)) is reason


def test_a_players_parameter_does_not_hide_its_user_agent() -> None:
    assert find_invalidity({"ua": CHROME}, player({b"user-agent": BOT.encode()})) is InvalidReason.KNOWN_BOT


@pytest.mark.parametrize(
    ("values", "client", "reason"),
    [
        ({}, stitcher(), None),
        ({}, stitcher(user_agent=None), None),
        ({"ua": CHROME}, stitcher(), None),
        ({"ua": BOT}, stitcher(), InvalidReason.KNOWN_BOT),
        ({"ua": "-"}, stitcher(), InvalidReason.IMPOSSIBLE_USER_AGENT),
        ({}, stitcher(x_device_user_agent=BOT.encode()), InvalidReason.KNOWN_BOT),
        ({}, stitcher(x_device_user_agent=b" "), InvalidReason.NO_USER_AGENT),
        ({}, stitcher(x_device_user_agent=CHROME.encode()), None),
        ({"ua": CHROME}, stitcher(x_device_user_agent=BOT.encode()), None),
        ({}, stitcher(sec_purpose=b"prefetch"), InvalidReason.PREFETCH),
    ],
)
def test_a_stitcher_is_judged_by_what_it_says_about_the_viewer(
    values: dict[str, str], client: Client, reason: InvalidReason | None
) -> None:
    assert find_invalidity(values, client) is reason
