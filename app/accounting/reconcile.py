"""Proving the books: every rule checked in one snapshot, while ads are served."""

import time
from collections.abc import Callable

from asyncpg import Connection, Record

from app.store.connections import disable_timeouts
from app.store.ledger_checks import RULES, Disagreement, find_disagreements

LIMIT = 1000
"""Disagreements that are reported for each rule; one cause can show in every serve."""

Report = Callable[[str, list[Disagreement], float], None]
"""Is told of a rule, its disagreements, and the seconds that it took."""


async def reconcile(
    connection: "Connection[Record]", report: Report, *, starting: Callable[[str], None] = lambda _: None
) -> int:
    """Checks every rule and reports each when it is done; returns how many disagreements there are.

    All rules see the same snapshot, so nothing that is served meanwhile looks like a disagreement.
    """
    found = 0
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await disable_timeouts(connection)
        for rule in RULES:
            starting(rule)
            began = time.monotonic()
            wrong = await find_disagreements(connection, rule, LIMIT)
            report(rule, wrong, time.monotonic() - began)
            found += len(wrong)
    return found
