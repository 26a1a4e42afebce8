"""Forgetting a viewer: the keys that stand for one leave the database, and the books stay what they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from asyncpg import Connection, InsufficientPrivilegeError, Record

from app.errors import AdServerError
from app.store import forgetting
from app.store.reconcile import take_time


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How many rows were made nobody's, or removed."""

    serves: int
    counts: int
    sessions: int


async def forget(connection: "Connection[Record]", user_keys: Sequence[UUID]) -> Forgotten:
    """Forgets whom these keys stand for, in one transaction. Raises AdServerError if the role may not."""
    async with connection.transaction():
        await take_time(connection)
        session_ids = await forgetting.sessions_of(connection, user_keys)
        # Counts first, in the order of serving, which takes them before it writes serves.
        counts, sessions = await forgetting.forget_counts_and_sessions(connection, user_keys, session_ids)
        serves = 0
        try:
            for day in await forgetting.served_days(connection, user_keys, session_ids):
                serves += await forgetting.forget_serves(connection, user_keys, session_ids, day)
        except InsufficientPrivilegeError as error:
            raise AdServerError("only the owner of the database may forget a user") from error
    return Forgotten(serves, counts, sessions)
