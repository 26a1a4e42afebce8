"""From a served outcome to the VAST document that the player gets."""

from functools import lru_cache

from app.domain import Campaign, Creative, VastVersion
from app.serving.tickets import FetchedAd, Served, ServedAd
from app.serving.tokens import TokenSigner
from app.vast.render import document, empty, own_ad, own_document
from app.vast.template import Template

TEMPLATES_MAX = 10_000
"""Compiled creatives kept, over all versions."""


class Answers:
    """Renders answers; a creative is compiled once for each VAST version."""

    def __init__(self, signer: TokenSigner, base_url: str) -> None:
        self._signer = signer
        self._base_url = base_url
        self._own_document = lru_cache(TEMPLATES_MAX)(self._compile_document)
        self._own_ad = lru_cache(TEMPLATES_MAX)(self._compile_ad)

    def no_fill(self, version: VastVersion) -> bytes:
        """A root without an Ad: what every player understands as "no ad"."""
        return empty(version)

    def vast(self, served: Served, version: VastVersion, campaigns: "Campaigns") -> bytes:
        """The whole document."""
        raise NotImplementedError
