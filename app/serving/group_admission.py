"""What comes before the decision: requests that were answered before, and viewing sessions that are over."""

from collections.abc import Callable, Sequence
from uuid import UUID

from asyncpg import Connection, Record

from app.errors import Conflict, Gone, NotFound
from app.serving.group import Group
from app.serving.outcomes import Served, ServedAd
from app.serving.pending import PendingRequest
from app.store import serves, sessions
from app.store.serves import EarlierServe

Recall = Callable[[PendingRequest, EarlierServe], ServedAd]
"""Makes the ad of an earlier serve again."""


class GroupAdmission:
    """Admits the requests of one group, in its transaction."""

    def __init__(self, connection: "Connection[Record]", group: Group, recall: Recall) -> None:
        self._connection = connection
        self._group = group
        self._recall = recall
        self.played: dict[UUID | None, tuple[str, ...]] = {}
        """Creatives that were served in the viewing sessions of the group."""

    async def admit(self, requests: Sequence[PendingRequest]) -> list[PendingRequest]:
        """The requests that are to be decided; what became of the others stands in the group."""
        return await self._lock_sessions(await self.answer_repeats(self._drop_duplicates(requests)))

    def _drop_duplicates(self, requests: Sequence[PendingRequest]) -> list[PendingRequest]:
        """The requests without those whose request is in the group already; these find its answer in the next group."""
        first: dict[UUID, PendingRequest] = {}
        for pending in requests:
            if first.setdefault(pending.request_key, pending) is not pending:
                self._group.again.append(pending)
        return list(first.values())

    async def answer_repeats(self, requests: Sequence[PendingRequest]) -> list[PendingRequest]:
        """Gives requests that were served before their first answer; returns the others."""
        keys = [pending.request_key for pending in requests if pending.may_have_been_served]
        if not keys:
            return list(requests)
        earlier = await serves.find_serves(self._connection, keys)
        for pending in requests:
            if found := earlier.get(pending.request_key):
                self._answer_again(pending, found)
        return [pending for pending in requests if pending.request_key not in earlier]

    def _answer_again(self, pending: PendingRequest, found: list[EarlierServe]) -> None:
        if found[0].fingerprint != pending.fingerprint:
            self._group.failed.append((pending, Conflict("request_id was used before with other parameters")))
            return
        ads = tuple(self._recall(pending, serve) for serve in found)
        self._group.served.append((pending, Served(pending.request_key, found[0].served_at, ads, repeat=True)))

    async def _lock_sessions(self, requests: list[PendingRequest]) -> list[PendingRequest]:
        """Locks the viewing sessions of the group; returns the requests whose session, if any, runs."""
        wanted = {pending.request.session_id for pending in requests if pending.request.session_id is not None}
        if not wanted:
            return requests
        rows = await sessions.lock(self._connection, list(wanted))
        running: list[PendingRequest] = []
        for pending in requests:
            session_id = pending.request.session_id
            row = None if session_id is None else rows.get(session_id)
            if session_id is None:
                running.append(pending)
            elif row is None:
                self._group.failed.append((pending, NotFound(f"session {session_id} does not exist")))
            elif row.over:
                self._group.failed.append((pending, Gone(f"session {session_id} has ended")))
            else:
                if pending.request.identifiable:
                    pending.user_key = pending.user_key or row.user_key
                pending.correlator = row.correlator
                self.played[session_id] = row.played
                running.append(pending)
        return running
