"""Reconciliation: checks every accounting rule in one snapshot, while ads are served."""

import time
from collections.abc import Callable
from datetime import date

from asyncpg import Connection, Record

from app.store.connections import snapshot
from app.store.ledger_checks import RULES, Disagreement, check_since, find_disagreements, may_check

DISAGREEMENTS_MAX = 1000
"""Disagreements reported for one rule; a single cause can affect every serve."""

RuleReporter = Callable[[str, list[Disagreement], float], None]
"""Receives a rule, its disagreements and the seconds that the check took."""


async def reconcile(
    connection: "Connection[Record]",
    report: RuleReporter,
    *,
    since: date | None = None,
    on_rule_start: Callable[[str], None] = lambda _: None,
    on_skip: Callable[[str], None] = lambda _: None,
) -> int:
    """Check every rule and report each one as it completes. Return the number of disagreements.

    With `since`, a UTC day, check what has happened since then: serves and entries of that day and later, the periods
    and windows that have begun since, and every lifetime budget, against the daily sums.

    A rule that this role may not check is skipped. All rules read the same snapshot, so ads served in the meantime
    cause no disagreement.
    """
    found = 0
    async with snapshot(connection):
        await check_since(connection, since or date.min)
        for rule in RULES:
            on_rule_start(rule)
            if not await may_check(connection, rule):
                on_skip(rule)
                continue
            started = time.monotonic()
            disagreements = await find_disagreements(connection, rule, DISAGREEMENTS_MAX, since or date.min)
            report(rule, disagreements, time.monotonic() - started)
            found += len(disagreements)
    return found
