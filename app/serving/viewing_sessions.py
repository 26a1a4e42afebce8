"""Viewing sessions from outside: made before the first ad, and ended after the last."""

import random
from dataclasses import dataclass
from uuid import UUID, uuid4

from app.errors import Gone, NotFound, RateLimited
from app.serving import keys
from app.store import sessions
from app.store.connections import Store
from app.store.sessions import SessionRow

SWEPT_EVERY_S = 60
"""Maintenance removes sessions that are over as often."""


@dataclass(frozen=True, slots=True)
class ViewerIds:
    """Who watches, and where; the user counts before the device, as on an ad request."""

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
        """A session that ends by itself after `ttl_s` seconds; raises RateLimited while there are too many of all."""
        # An id that nobody can guess: whoever knows it can end the session.
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
            raise RateLimited("there are too many viewing sessions", SWEPT_EVERY_S)
        return session

    def _user_key(self, viewer: ViewerIds) -> UUID | None:
        if viewer.user_id is not None:
            return keys.user_key(self._hash_key, viewer.user_id)
        if viewer.device_id is not None:
            return keys.device_key(self._hash_key, viewer.device_id)
        return None

    async def get(self, session_id: UUID) -> SessionRow:
        """The session while it runs; raises Gone when it is over and NotFound if there never was one."""
        async with self._store.connection() as connection:
            return _running(session_id, await sessions.find(connection, session_id))

    async def end(self, session_id: UUID) -> None:
        """Ends the session; raises Gone when it is over already and NotFound if there never was one."""
        async with self._store.connection() as connection:
            if await sessions.end(connection, session_id) is None:
                _running(session_id, await sessions.find(connection, session_id))


def _running(session_id: UUID, row: SessionRow | None) -> SessionRow:
    if row is None:
        raise NotFound(f"session {session_id} does not exist")
    if row.over:
        raise Gone(f"session {session_id} has ended")
    return row
