"""The verdict on an ad request, from what its sender says about the viewer."""

from collections.abc import Mapping
from enum import StrEnum

from app.domain import Client
from app.traffic.prefetches import is_prefetch
from app.traffic.user_agents import is_known_bot, is_possible


class InvalidReason(StrEnum):
    """Reason why a request is invalid traffic."""

    PREFETCH = "prefetch"
    NO_USER_AGENT = "no_user_agent"
    IMPOSSIBLE_USER_AGENT = "impossible_user_agent"
    KNOWN_BOT = "known_bot"


def find_invalidity(values: Mapping[str, str], client: Client) -> InvalidReason | None:
    """Return why a request with these parameters is invalid; None if nothing speaks against it.

    A trusted sender, such as a stitcher, may say nothing about the viewer's user agent; its own does not count.
    """
    if is_prefetch(client.headers):
        return InvalidReason.PREFETCH
    if not client.is_trusted:
        return _judge(client.user_agent or "")
    user_agent = values.get("ua") or client.headers.get(b"x-device-user-agent", b"").decode("latin-1")
    return _judge(user_agent) if user_agent else None


def _judge(user_agent: str) -> InvalidReason | None:
    if not user_agent.strip():
        return InvalidReason.NO_USER_AGENT
    if not is_possible(user_agent):
        return InvalidReason.IMPOSSIBLE_USER_AGENT
    return InvalidReason.KNOWN_BOT if is_known_bot(user_agent) else None
