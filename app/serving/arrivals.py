"""What comes before the decision: requests that were answered before, and viewing sessions that are over."""

from collections.abc import Callable, Sequence
from uuid import UUID

from asyncpg import Connection, Record

from app.errors import Conflict, Gone, NotFound
from app.serving.group import Group
from app.serving.tickets import Served, ServedAd, Ticket
from app.store import serves, sessions
from app.store.serves import EarlierServe

Recall = Callable[[Ticket, EarlierServe], ServedAd]
"""Makes the ad of an earlier serve again."""


class Arrivals:
    """Admits the tickets of one group, in its transaction."""

    def __init__(self, connection: "Connection[Record]", group: Group, recall: Recall) -> None:
        self._connection = connection
        self._group = group
        self._recall = recall
        self.played: dict[UUID | None, tuple[str, ...]] = {}
        """Creatives that were served in the viewing sessions of the group."""

    async def admit(self, tickets: Sequence[Ticket]) -> list[Ticket]:
        """The tickets that are to be decided; what became of the others stands in the group."""
        return await self._join_sessions(await self.answer_repeats(self._each_once(tickets)))

    def _each_once(self, tickets: Sequence[Ticket]) -> list[Ticket]:
        """The tickets without those whose request is in the group already; these find its answer in the next group."""
        first: dict[UUID, Ticket] = {}
        for ticket in tickets:
            if first.setdefault(ticket.request_key, ticket) is not ticket:
                self._group.again.append(ticket)
        return list(first.values())

    async def answer_repeats(self, tickets: Sequence[Ticket]) -> list[Ticket]:
        """Gives requests that were served before their first answer; returns the others."""
        keys = [ticket.request_key for ticket in tickets if ticket.may_be_served]
        if not keys:
            return list(tickets)
        earlier = await serves.find_serves(self._connection, keys)
        for ticket in tickets:
            if found := earlier.get(ticket.request_key):
                self._answer_again(ticket, found)
        return [ticket for ticket in tickets if ticket.request_key not in earlier]

    def _answer_again(self, ticket: Ticket, found: list[EarlierServe]) -> None:
        if found[0].fingerprint != ticket.fingerprint:
            self._group.failed.append((ticket, Conflict("request_id was used before with other parameters")))
            return
        ads = tuple(self._recall(ticket, serve) for serve in found)
        self._group.served.append((ticket, Served(ticket.request_key, found[0].served_at, ads, repeat=True)))

    async def _join_sessions(self, tickets: list[Ticket]) -> list[Ticket]:
        """Locks the viewing sessions of the group; returns the tickets whose session, if any, runs."""
        wanted = {ticket.request.session_id for ticket in tickets if ticket.request.session_id is not None}
        if not wanted:
            return tickets
        rows = await sessions.lock(self._connection, list(wanted))
        running: list[Ticket] = []
        for ticket in tickets:
            session_id = ticket.request.session_id
            row = None if session_id is None else rows.get(session_id)
            if session_id is None:
                running.append(ticket)
            elif row is None:
                self._group.failed.append((ticket, NotFound(f"session {session_id} does not exist")))
            elif row.over:
                self._group.failed.append((ticket, Gone(f"session {session_id} has ended")))
            else:
                if ticket.request.identifiable:
                    ticket.user_key = ticket.user_key or row.user_key
                ticket.correlator = row.correlator
                self.played[session_id] = row.played
                running.append(ticket)
        return running
