"""The server as it would be without its second attempt, which no setting turns off."""

from starlette.types import ASGIApp

from app.main import create_app as create_retrying
from app.upstreams import requester


def create_app() -> ASGIApp:
    """The ASGI application of one worker."""
    requester.ATTEMPTS = 1
    return create_retrying()
