"""The values of one ad request, as tag URLs, Error URLs and headers need them."""

from collections.abc import Mapping
from typing import Protocol


class RequestValues(Protocol):
    """The values of one ad request; every URL is returned with its macros replaced."""

    @property
    def size_bytes(self) -> int:
        """The memory that the values take, in bytes."""

    def tag_url(self, template: str, remaining_ms: int) -> str:
        """Return the URL of a configured tag; the response may take `remaining_ms` milliseconds."""

    def untrusted_url(self, template: str, remaining_ms: int) -> str:
        """Return a URL that came in a document; raise UnusableVast if it is too long."""

    def error_url(self, template: str, code: int) -> str:
        """Return an Error URL that came in a document; raise UnusableVast if it is too long."""

    def cache_key(self, template: str) -> str:
        """Return the URL without the macros whose values vary per request."""

    def headers(self) -> Mapping[str, str]:
        """Return the headers that identify the viewer, as far as the request's privacy signals allow."""
