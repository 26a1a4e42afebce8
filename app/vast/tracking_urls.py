"""Tracking URLs of this server, with a placeholder for the token."""

from app.domain import Event
from app.vast.response_template import placeholder


def event_url(base_url: str, event: Event) -> str:
    """Return the URL for reporting `event`; a player replaces an error's code (VAST 4.2 section 2.3.6.3)."""
    url = f"{base_url}/event/{event}?t={placeholder(event)}"
    return f"{url}&code=[ERRORCODE]" if event is Event.ERROR else url


def click_url(base_url: str) -> str:
    """Return the URL that counts a click and redirects to the destination in its token."""
    return f"{base_url}/click?t={placeholder(Event.CLICK)}"
