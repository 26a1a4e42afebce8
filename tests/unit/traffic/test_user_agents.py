"""Which user agents belong to a player, and which do not."""

import pytest
from crawleruseragents import CRAWLER_USER_AGENTS_DATA

from app.traffic.user_agents import LENGTH_MAX, is_known_bot, is_possible
from tests.unit.traffic.players import PLAYERS

BOTS = [user_agent for crawler in CRAWLER_USER_AGENTS_DATA for user_agent in crawler["instances"]]


def test_every_bot_that_the_list_has_seen_is_known() -> None:
    assert len(BOTS) > 2000
    assert [user_agent for user_agent in BOTS if not is_known_bot(user_agent)] == []


@pytest.mark.parametrize("user_agent", PLAYERS)
def test_an_ordinary_player_is_no_bot(user_agent: str) -> None:
    assert is_possible(user_agent)
    assert not is_known_bot(user_agent)


@pytest.mark.parametrize(
    "user_agent", ["", " ", "-", "...", "12345", "(;;) /", "VLC", "  ab  ", "Moz\x00illa", "Roku\t9", "a\x7fbcd"]
)
def test_a_text_that_names_no_program_is_impossible(user_agent: str) -> None:
    assert not is_possible(user_agent)


def test_a_user_agent_in_another_script_is_possible() -> None:
    assert is_possible("播放器 Player/1.0")
    assert is_possible("播放器 Player/1.0".encode().decode("latin-1"))


def test_a_bot_is_looked_for_in_the_first_characters_only() -> None:
    assert is_known_bot(" " * (LENGTH_MAX - 20) + "Googlebot/2.1")
    assert not is_known_bot("x" * LENGTH_MAX + "Googlebot/2.1")
