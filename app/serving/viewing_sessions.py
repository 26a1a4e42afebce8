"""Viewing sessions as clients manage them: created before the first ad, and ended after the last."""

import random
from dataclasses import dataclass
from uuid import UUID, uuid4

from app.errors import Gone, NotFound, RateLimited
from app.serving import keys
from app.store import sessions
from app.store.connections import Store
from app.store.sessions import SessionRow

SWEEP_INTERVAL_S = 60
"""The interval at which maintenance removes ended sessions, in seconds."""


@dataclass(frozen=True, slots=True)
class ViewerIds:
    """The ids of a viewer and a publisher; a user takes precedence over a device, as in an ad request."""

    user_id: str | None = None
    device_id: str | None = None
    publisher_id: str | None = None


class ViewingSessions:
    """Creates, finds and ends viewing sessions."""

    def __init__(self, store: Store, hash_key: bytes, sessions_max: int) -> None:
        self._store = store
        self._hash_key = hash_key
        self._sessions_max = sessions_max

    async def create(self, viewer: ViewerIds, ttl_s: int) -> SessionRow:
        """Create a session that expires after `ttl_s` seconds; raise RateLimited if `sessions_max` of them exist."""
        # It must be hard to guess, because any client that knows the id can end the session.
        session_id = uuid4()
        correlator = str(random.getrandbits(53))
        async with self._store.connection() as connection:
            session = await sessions.create(
                connection,
                session_id,
                self._user_key(viewer),
                viewer.publisher_id,
                correlator,
                ttl_s,
                self._sessions_max,
            )
        if session is None:
            raise RateLimited("too many viewing sessions", SWEEP_INTERVAL_S)
        return session

    def _user_key(self, viewer: ViewerIds) -> UUID | None:
        if viewer.user_id is not None:
            return keys.user_key(self._hash_key, viewer.user_id)
        if viewer.device_id is not None:
            return keys.device_key(self._hash_key, viewer.device_id)
        return None

    async def get(self, session_id: UUID) -> SessionRow:
        """Return a running session; raise Gone if it has ended, and NotFound if it does not exist."""
        async with self._store.connection() as connection:
            return _running(session_id, await sessions.find(connection, session_id))

    async def end(self, session_id: UUID) -> None:
        """End a running session; raise Gone if it has ended already, and NotFound if it does not exist."""
        async with self._store.connection() as connection:
            if await sessions.end(connection, session_id) is None:
                _running(session_id, await sessions.find(connection, session_id))


def _running(session_id: UUID, row: SessionRow | None) -> SessionRow:
    if row is None:
        raise NotFound(f"session {session_id} does not exist")
    if row.over:
        raise Gone(f"session {session_id} has ended")
    return row
