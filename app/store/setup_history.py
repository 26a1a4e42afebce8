"""setup_history: who changes what is set up, for the triggers that record every change when it is committed."""

from dataclasses import dataclass

from asyncpg import Connection, Record

AUTHOR_LENGTH_MAX = 128
"""Characters of an author in the history."""

MARK_SETUP_CHANGES = "SELECT set_config('adserver.author', $1, true), set_config('adserver.source', $2, true)"
"""Name the author and the source of this transaction's changes; an empty author is the database role."""


@dataclass(frozen=True, slots=True)
class ChangeOrigin:
    """The author of a change, by default the database role, and its source, such as `file spring.toml`."""

    source: str
    author: str | None = None


async def mark_changes(connection: "Connection[Record]", origin: ChangeOrigin) -> None:
    """Have the history show this origin for everything that the transaction changes."""
    await connection.execute(MARK_SETUP_CHANGES, origin.author or "", origin.source)
