"""Ads from upstreams, as serving asks for them: a ticket's values go into the tag URL, the chain does the rest."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import cached_property

from app.domain import Upstream
from app.serving.tickets import FetchedAd, Ticket
from app.upstreams.chain import UpstreamChain
from app.vast.macros import MacroContext, cache_key, expand

ANSWERING_S = 0.05
"""What is left of a request's deadline for paying and answering once its ad is here."""


class TicketValues:
    """What a ticket's request knows, as tag URLs and headers need it."""

    def __init__(self, ticket: Ticket) -> None:
        self._ticket = ticket

    @cached_property
    def _macros(self) -> MacroContext:
        ticket = self._ticket
        context = ticket.context
        known = {"ip": context.client_ip, "ua": context.client_ua}
        values = {name: value for name, value in known.items() if value is not None} | dict(ticket.request.values)
        return MacroContext(
            values=values,
            timestamp=context.timestamp,
            cachebusting=context.cachebusting,
            correlator=ticket.correlator,
            request_id=context.request_id,
            withhold_identity=not ticket.request.identifiable,
        )

    def tag_url(self, template: str, remaining_ms: int) -> str:
        """The URL to ask, its macros replaced."""
        return expand(template, self._macros, {"tmax": str(remaining_ms)})

    def cache_key(self, template: str) -> str:
        """The URL without what changes with every request."""
        return cache_key(template, self._macros)

    def headers(self) -> Mapping[str, str]:
        """Who watches, as a server says it for its client (VAST 4.2 section 1.2.4)."""
        values = self._macros.values
        headers = {"X-Device-User-Agent": values.get("ua"), "X-Device-IP": values.get("ip")}
        if not self._ticket.request.identifiable:
            headers["X-Device-IP"] = None
        return {name: value for name, value in headers.items() if value is not None and value.isascii()}


class UpstreamAds:
    """Serving's source of the ads that are not its own."""

    def __init__(self, chain: UpstreamChain, upstream_deadline_s: float) -> None:
        self._chain = chain
        self._deadline_s = upstream_deadline_s

    async def fetch(self, ticket: Ticket, upstreams: Sequence[Upstream]) -> FetchedAd:
        """The first ad that an upstream of the list has in time; raises UpstreamFailed."""
        now = asyncio.get_running_loop().time()
        deadline = min(ticket.deadline - ANSWERING_S, now + self._deadline_s)
        return await self._chain.fetch(upstreams, TicketValues(ticket), deadline)

    def in_hand(self, ticket: Ticket, upstreams: Sequence[Upstream]) -> FetchedAd | None:
        """The ad, if it is in the cache."""
        return self._chain.in_hand(upstreams, TicketValues(ticket))

    def restore(self, upstream_id: str, document: bytes) -> FetchedAd:
        """The ad of a document that was served before."""
        return self._chain.restore(upstream_id, document)
