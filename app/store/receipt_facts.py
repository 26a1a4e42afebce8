"""Read what a receipt says besides hashes: when and by whom it was made, and who corrected."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from asyncpg import Connection, Record

READ_RECEIPT_FACTS = """
SELECT adserver_clock()::text AS made_at, session_user::text AS made_by,
       (SELECT version_num FROM alembic_version) AS revision,
       (SELECT rolled_up_to::text FROM books_state) AS booked_before
"""
"""Read when and by whom a receipt is made, and the moment before which nothing is booked any more."""

COUNT_CORRECTIONS = """
SELECT k.recorded_by, count(*) AS corrections
FROM finance.corrections k JOIN public.spend_ledger l USING (entry_id, booked_on)
WHERE booked_on >= $1 AND l.booked_at < $2::text::timestamptz
GROUP BY 1 ORDER BY 1
"""
"""Count the corrections by author, of the days since $1, that were booked before $2."""


@dataclass(frozen=True, slots=True)
class ReceiptFacts:
    """When and by whom a receipt is made; `booked_before` is the moment up to which the ledger is complete."""

    made_at: str
    made_by: str
    revision: str
    booked_before: str


async def read_facts(connection: "Connection[Record]") -> ReceiptFacts:
    """Return the facts of a receipt that is made now."""
    row = await connection.fetchrow(READ_RECEIPT_FACTS)
    if row is None:
        raise AssertionError("the query returns one row")
    return ReceiptFacts(**row)


async def count_corrections(
    connection: "Connection[Record]", begins: date, booked_before: str
) -> Sequence[tuple[str, int]]:
    """Return the number of corrections of each author, of the days since one, that were booked before a moment."""
    return [(row[0], row[1]) for row in await connection.fetch(COUNT_CORRECTIONS, begins, booked_before)]
