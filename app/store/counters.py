"""budget_tracking when the set of a campaign's budgets changes: rows that have counted all of their period, or none."""

from collections.abc import Sequence

from asyncpg import Connection, Record

RECOUNT = "SELECT recount_budgets($1)"
"""Makes the running periods' rows that are missing, from the ledger and the open holds, and removes those of budgets
that are gone. It waits for the transactions that are booking, and holds up the next ones meanwhile."""


async def recount(connection: "Connection[Record]", campaign_ids: Sequence[str]) -> None:
    """To be called when campaign_budgets is written, and before this transaction locks any row of budget_tracking.

    A period's row begins with what was spent and held in it before, and with a limit that is not below that.
    """
    await connection.execute(RECOUNT, campaign_ids)
