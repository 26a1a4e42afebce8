"""An ad request, after its parameters were checked."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

from app.domain.terms import Competitors, VastVersion


class Client(NamedTuple):
    """The viewer's end of a request: its address and headers, as reported by a peer that is trusted to report them."""

    address: str | None = None
    user_agent: str | None = None
    accept_language: str | None = None
    is_trusted: bool = False
    """Whether what the sender says about the viewer counts more than its address and user agent."""
    headers: Mapping[bytes, bytes] = MappingProxyType({})
    """All headers as sent, by their names in lower case."""


class AdRequest(NamedTuple):
    """A validated ad request; exactly one of `campaign_id` and `placement_id` is set.

    This is a named tuple, because one is created for every request, and a frozen dataclass takes more than twice as
    long.
    """

    campaign_id: str | None = None
    placement_id: str | None = None
    user_id: str | None = None
    device_id: str | None = None
    publisher_id: str | None = None
    session_id: UUID | None = None
    request_id: str | None = None
    vast_version: VastVersion = VastVersion.V4_2
    pod_size: int = 1
    pod_duration_s: int | None = None
    min_ads: int = 1
    """A pod with fewer ads is not served; at most `pod_size`."""
    competitors: Competitors = Competitors.APART
    min_duration_s: int | None = None
    max_duration_s: int | None = None
    values: Mapping[str, str] = MappingProxyType({})
    """Every known parameter as sent; used for macros and to distinguish a retry from a different request."""
    identifiable: bool = True
    """Whether the privacy signals allow identification of the user."""
    stitched: bool = False
    """Whether the request comes from a stitcher, ahead of playback."""
