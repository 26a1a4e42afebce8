"""SQL fragments about budgets that several statements share."""

NEWEST_BUDGET_ROW = """
    WHERE t.campaign_id || '/' || t.period = due.campaign_id || '/' || due.period
        AND greatest(t.period_start, to_timestamp(0)) = due.period_start
    ORDER BY t.generation DESC LIMIT 1
"""
"""The row `t` of the budget period `due`, its newest generation first.

A long query of somebody else's keeps all versions of a row alive, and there may be thousands. Only the index
budget_tracking_by_generation has these expressions, so that no plan goes by the primary key, which leads to all."""

LOCK_DUE_BUDGETS = f"""
SELECT newest.place FROM due CROSS JOIN LATERAL (
    SELECT t.ctid AS place FROM budget_tracking t
    {NEWEST_BUDGET_ROW}
    FOR UPDATE
) AS newest
"""
"""Locks the rows of `due`, in its order, and says where they lie until this transaction changes them."""

ALLOWED_BY_BUDGET = """
CROSS JOIN LATERAL (
    SELECT least(t."limit", b."limit") AS "limit", least(t.impressions_limit, b.impressions_limit) AS impressions
) AS allowed
"""
"""What a budget's row `t` and its definition `b` allow: a limit that was lowered is what was wanted, even where the
row's own is higher for the sake of what it has used."""


def pace(limit: str) -> str:
    """SQL for how much of a limit of campaign `c` in the period of `t` may be used by now."""
    return f"budget_pace({limit}, t.period, t.period_start, c.pacing, c.starts_at, c.ends_at, c.timezone)"


def _room(amount: str, impressions: str) -> str:
    """How many more ads of campaign `c` fit where so much may be spent and that many served; NULL for no limit.

    Free ads are reckoned at next to nothing, so that money limits them only where none is left.
    """
    return f"""least(div(({amount} - t.used) * 1000, greatest(c.cpm, 1e-12)), {impressions} - t.impressions)"""


ROOM_IN_BUDGET = _room('allowed."limit"', "allowed.impressions")
"""How many more ads the budget `t`, `b` of campaign `c` has room for, where `t.used` is what it has spent and holds."""

ROOM_BY_PACING = _room(
    pace('allowed."limit"'),
    f"CASE WHEN allowed.impressions IS NOT NULL THEN floor({pace('allowed.impressions')}) END",
)
"""How many of those may be served by now, by the campaign's pacing."""
