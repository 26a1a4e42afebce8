"""Erasure of a viewer: the viewer's keys leave the database, and the accounts stay unchanged."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from asyncpg import Connection, InsufficientPrivilegeError, Record, SerializationError

from app.errors import AdServerError
from app.store import viewer_erasure
from app.store.connections import disable_timeouts

ATTEMPTS_MAX = 10
"""An attempt fails if the viewer is served an ad while it runs; ten fail only if ads arrive faster than playback."""


@dataclass(frozen=True, slots=True)
class ErasedCounts:
    """Numbers of rows that lost their keys or were removed."""

    serves: int
    counts: int
    sessions: int
    documents: int = 0


async def erase_viewer(connection: "Connection[Record]", user_keys: Sequence[UUID]) -> ErasedCounts:
    """Erase the viewer with these keys. An ad served during the erasure may stay, together with its count.

    Raises AdServerError if the role lacks the privilege, or if every attempt met a new serve.
    """
    async with connection.transaction(readonly=True):
        await disable_timeouts(connection)
        watched = await viewer_erasure.find_watched_sessions(connection, user_keys)
    for _ in range(ATTEMPTS_MAX):
        # A serve between the snapshot and the locks fails the attempt; the next snapshot includes that serve.
        with suppress(SerializationError):
            return await _try_to_erase(connection, user_keys, watched)
    raise AdServerError("the user is being served ads without a pause; try again later")


async def _try_to_erase(
    connection: "Connection[Record]", user_keys: Sequence[UUID], watched: Sequence[UUID]
) -> ErasedCounts:
    """Make one attempt, with one snapshot for counts and serves, so that the remaining ones still agree."""
    async with connection.transaction(isolation="repeatable_read"):
        await viewer_erasure.pin_partitions(connection)
        await disable_timeouts(connection)
        session_ids = await viewer_erasure.lock_sessions(connection, user_keys, watched)
        # Counts come before serves, which take long to find: from here on, no transaction can change these counts.
        counts, sessions = await viewer_erasure.delete_counts_and_sessions(connection, user_keys, session_ids)
        serves = documents = 0
        try:
            for day in await viewer_erasure.find_served_days(connection, user_keys, session_ids):
                documents += await viewer_erasure.delete_documents(connection, user_keys, session_ids, day)
                serves += await viewer_erasure.anonymize_serves(connection, user_keys, session_ids, day)
        except InsufficientPrivilegeError as error:
            raise AdServerError("only the owner of the database may erase a user") from error
    return ErasedCounts(serves, counts, sessions, documents)
