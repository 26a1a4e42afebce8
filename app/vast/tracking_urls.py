"""The tracking URLs of our own, with a gap for the token."""

from app.domain import Event
from app.vast.response_template import placeholder


def event_url(base_url: str, event: Event) -> str:
    """Where a player reports `event`; for an error the player fills in the code (VAST 4.2 section 2.3.6.3)."""
    url = f"{base_url}/event/{event}?t={placeholder(event)}"
    return f"{url}&code=[ERRORCODE]" if event is Event.ERROR else url


def click_url(base_url: str) -> str:
    """Where a click goes first: it counts, and redirects to the destination that its token holds."""
    return f"{base_url}/click?t={placeholder(Event.CLICK)}"
