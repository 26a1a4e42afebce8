"""Forgetting a viewer: the keys that stand for one leave the database, and the books stay what they are."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from asyncpg import Connection, InsufficientPrivilegeError, Record, SerializationError

from app.errors import AdServerError
from app.store import viewer_erasure
from app.store.connections import disable_timeouts

ATTEMPTS_MAX = 10
"""The first attempt fails if an ad is on its way to the user, and ten if ads come faster than anybody watches them."""


@dataclass(frozen=True, slots=True)
class ErasedCounts:
    """How many rows lost their keys, or were removed."""

    serves: int
    counts: int
    sessions: int
    documents: int = 0


async def erase_viewer(connection: "Connection[Record]", user_keys: Sequence[UUID]) -> ErasedCounts:
    """Forgets whom these keys stand for, at once; an ad that is served meanwhile may stay, with its count.

    Raises AdServerError if the role may not, or if they are served ads at every attempt.
    """
    async with connection.transaction(readonly=True):
        await disable_timeouts(connection)
        watched = await viewer_erasure.find_watched_sessions(connection, user_keys)
    for _ in range(ATTEMPTS_MAX):
        # They were served an ad between the snapshot and the locks, and the next snapshot has it.
        with suppress(SerializationError):
            return await _erase_viewer(connection, user_keys, watched)
    raise AdServerError("the user is served one ad after the other: try again later")


async def _erase_viewer(
    connection: "Connection[Record]", user_keys: Sequence[UUID], watched: Sequence[UUID]
) -> ErasedCounts:
    """One attempt. Counts and serves go by one snapshot, so that those that stay agree as well."""
    async with connection.transaction(isolation="repeatable_read"):
        await viewer_erasure.pin_partitions(connection)
        await disable_timeouts(connection)
        session_ids = await viewer_erasure.lock_sessions(connection, user_keys, watched)
        # Before the serves, which take long to find: from here on nobody counts where the snapshot has a count.
        counts, sessions = await viewer_erasure.delete_counts_and_sessions(connection, user_keys, session_ids)
        serves = documents = 0
        try:
            for day in await viewer_erasure.find_served_days(connection, user_keys, session_ids):
                documents += await viewer_erasure.delete_documents(connection, user_keys, session_ids, day)
                serves += await viewer_erasure.anonymize_serves(connection, user_keys, session_ids, day)
        except InsufficientPrivilegeError as error:
            raise AdServerError("only the owner of the database may erase_viewer a user") from error
    return ErasedCounts(serves, counts, sessions, documents)
