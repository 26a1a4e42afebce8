"""Reconciliation: checks every accounting rule in one snapshot, while ads are served."""

import time
from collections.abc import Callable

from asyncpg import Connection, Record

from app.store.connections import disable_timeouts
from app.store.ledger_checks import RULES, Disagreement, find_disagreements

DISAGREEMENTS_MAX = 1000
"""Disagreements reported for one rule; a single cause can affect every serve."""

RuleReporter = Callable[[str, list[Disagreement], float], None]
"""Receives a rule, its disagreements and the seconds that the check took."""


async def reconcile(
    connection: "Connection[Record]", report: RuleReporter, *, on_rule_start: Callable[[str], None] = lambda _: None
) -> int:
    """Check every rule and report each one as it completes. Return the number of disagreements.

    All rules read the same snapshot, so ads served in the meantime cause no disagreement.
    """
    found = 0
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await disable_timeouts(connection)
        for rule in RULES:
            on_rule_start(rule)
            started = time.monotonic()
            disagreements = await find_disagreements(connection, rule, DISAGREEMENTS_MAX)
            report(rule, disagreements, time.monotonic() - started)
            found += len(disagreements)
    return found
