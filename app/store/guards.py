"""Read what protects the books from Postgres' catalog: triggers, constraints, functions, views, privileges, roles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from asyncpg import Connection, Record
from sqlalchemy import CheckConstraint

from app.store.tables import metadata

FIX_SEARCH_PATH = """
SELECT set_config('search_path', 'pg_catalog', true)
"""
"""Make Postgres name the schema of everything, for any role."""

READ_GUARDS = """
WITH relation AS (
    SELECT c.oid, c.relkind, c.relowner, c.relacl, c.oid::regclass::text AS name FROM pg_class c
    WHERE c.relnamespace IN ('public'::regnamespace, 'finance'::regnamespace) AND c.relkind IN ('r', 'p', 'v')
        AND (NOT c.relispartition OR c.relname LIKE '%\\_default')
)
SELECT 'trigger ' || t.tgname || ' on ' || r.name AS guard, t.tgenabled <> 'D' AS in_force,
       t.tgenabled::text || ' ' || pg_get_triggerdef(t.oid) AS definition
FROM pg_trigger t JOIN relation r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal
UNION ALL
SELECT 'constraint ' || c.conname || ' on ' || r.name, c.convalidated AND c.conenforced,
       pg_get_constraintdef(c.oid) || ' ' || c.convalidated || ' ' || c.conenforced
FROM pg_constraint c JOIN relation r ON r.oid = c.conrelid WHERE c.contype <> 'n'
UNION ALL
SELECT 'function ' || p.oid::regprocedure, true,
       concat_ws(' ', pg_get_functiondef(p.oid), pg_get_userbyid(p.proowner),
                 ARRAY(SELECT a::text FROM unnest(p.proacl) AS a ORDER BY 1))
FROM pg_proc p WHERE p.pronamespace IN ('public'::regnamespace, 'finance'::regnamespace) AND p.prokind = 'f'
UNION ALL
SELECT 'view ' || name, true, pg_get_viewdef(oid) FROM relation WHERE relkind = 'v'
UNION ALL
SELECT 'privileges on ' || name, true,
       concat_ws(' ', pg_get_userbyid(relowner), ARRAY(SELECT a::text FROM unnest(relacl) AS a ORDER BY 1),
                 ARRAY(SELECT attname || a::text FROM pg_attribute, unnest(attacl) AS a
                       WHERE attrelid = oid ORDER BY 1))
FROM relation
UNION ALL
SELECT 'privileges on schema ' || nspname, true,
       concat_ws(' ', pg_get_userbyid(nspowner), ARRAY(SELECT a::text FROM unnest(nspacl) AS a ORDER BY 1))
FROM pg_namespace WHERE nspname IN ('public', 'finance')
UNION ALL
SELECT 'role ' || rolname, true,
       concat_ws(' ', rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls,
                 ARRAY(SELECT pg_get_userbyid(roleid) FROM pg_auth_members WHERE member = r.oid ORDER BY 1))
FROM pg_roles r WHERE rolname LIKE 'adserver\\_%'
ORDER BY 1
"""
"""Read every guard with its definition; `FIND_UNGUARDED_PARTITIONS` checks the partitions, which come and go."""

FIND_UNGUARDED_PARTITIONS = """
SELECT 'trigger ' || g.name || ' on ' || c.oid::regclass AS guard
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
CROSS JOIN LATERAL (
    SELECT substring(pg_get_expr(c.relpartbound, c.oid) FROM $pattern$FROM \\('([0-9-]+)'$pattern$)::date AS begins
) AS bound
CROSS JOIN (VALUES ('entries_are_kept', 'refuse_change', 27), ('entries_are_not_truncated', 'refuse_change', 34),
                   ('month_is_closed', 'refuse_closed_month', 7)) AS g (name, function, type)
WHERE i.inhparent = 'public.spend_ledger'::regclass
    AND (g.name <> 'month_is_closed' OR bound.begins <= (SELECT max(month) FROM finance.closed_months))
    AND NOT EXISTS (
        SELECT FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
        WHERE t.tgrelid = c.oid AND t.tgname = g.name AND t.tgenabled = 'A' AND p.proname = g.function
            AND t.tgtype = g.type AND t.tgqual IS NULL)
ORDER BY 1
"""
"""Find the triggers that a partition of the ledger must have and lacks, or that are disabled."""

READ_REPAIRS = """
SELECT repair_id, repaired_at, repaired_by, reason, table_name, operation, old_row::text, new_row::text
FROM finance.book_repairs ORDER BY repair_id
"""
"""Read every recorded repair of the books."""

REQUIRED_TRIGGERS = {
    "public.spend_ledger": ("entries_are_kept", "entries_are_not_truncated"),
    "public.spend_ledger_default": (
        *("entries_are_kept", "entries_are_not_truncated", "month_is_closed", "entries_are_moved"),
    ),
    "public.ledger_corrections": (
        *("author_is_stamped", "corrections_are_kept", "corrections_are_not_truncated", "month_is_closed"),
    ),
    "public.correction_sets": ("author_is_stamped", "sets_are_kept", "sets_are_not_truncated"),
    "public.correction_set_entries": ("sets_are_kept", "sets_are_not_truncated"),
    "public.third_party_counts": ("author_is_stamped", "counts_are_kept", "counts_are_not_truncated"),
    "public.order_credits": ("author_is_stamped", "credits_are_kept", "credits_are_not_truncated"),
    "public.payouts": ("author_is_stamped", "payouts_are_kept", "payouts_are_not_truncated"),
    "public.closed_months": ("author_is_stamped", "closings_are_kept", "closings_are_not_truncated"),
    "public.month_ends": ("figures_are_kept", "figures_are_not_truncated", "month_is_closed"),
    "public.invoices": ("invoice_is_issued", "invoices_are_kept", "invoices_are_not_truncated"),
    "public.invoice_details": ("details_are_complete", "details_are_kept", "details_are_not_truncated"),
    "public.book_repairs": ("repairs_are_kept", "repairs_are_not_truncated"),
    "public.advertisers": ("advertiser_change_is_noted", "advertiser_truncation_is_noted"),
    "public.campaign_caps": ("campaign_change_is_noted", "campaign_truncation_is_noted"),
    "public.campaign_upstreams": ("campaign_change_is_noted", "campaign_truncation_is_noted"),
    "public.campaigns": ("campaign_change_is_noted", "campaign_truncation_is_noted"),
    "public.configured_budgets": (
        "campaign_change_is_noted",
        "campaign_truncation_is_noted",
        "order_change_is_noted",
        "order_truncation_is_noted",
    ),
    "public.creatives": ("creative_change_is_noted", "creative_truncation_is_noted"),
    "public.orders": ("order_change_is_noted", "order_truncation_is_noted"),
    "public.placement_campaigns": ("placement_change_is_noted", "placement_truncation_is_noted"),
    "public.placements": ("placement_change_is_noted", "placement_truncation_is_noted"),
    "public.publishers": ("publisher_change_is_noted", "publisher_truncation_is_noted"),
    "public.setup_history": ("history_is_kept",),
    "public.unrecorded_setup": ("history_is_kept", "setup_is_recorded"),
    "public.upstreams": ("upstream_change_is_noted", "upstream_truncation_is_noted"),
    "public.webhooks": ("webhook_change_is_noted", "webhook_truncation_is_noted"),
}
"""The triggers that fire for everybody, by table."""

REQUIRED_GUARDS = frozenset(
    {f"trigger {name} on {table}" for table, names in REQUIRED_TRIGGERS.items() for name in names}
    | {
        f"constraint {constraint.name} on public.{table.name}"
        for table in metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }
)
"""The guards that every database of this version has."""


@dataclass(frozen=True, slots=True)
class Repair:
    """A row of the books that somebody changed in spite of its guards, with the reason given."""

    repair_id: int
    repaired_at: object
    repaired_by: str
    reason: str
    table_name: str
    operation: str
    old_row: str | None
    new_row: str | None


@dataclass(frozen=True, slots=True)
class Guards:
    """The guards of a database: the hash of the definition of each, and those that are missing or disabled."""

    hashes: Mapping[str, str]
    missing: Sequence[str]


async def read_guards(connection: "Connection[Record]") -> Guards:
    """Return the guards of the database. Changes the search path of the transaction."""
    await connection.execute(FIX_SEARCH_PATH)
    rows = await connection.fetch(READ_GUARDS)
    in_force = {row["guard"] for row in rows if row["in_force"] and _fires_always(row["guard"], row["definition"])}
    unguarded = [row["guard"] for row in await connection.fetch(FIND_UNGUARDED_PARTITIONS)]
    return Guards(
        {row["guard"]: sha256(row["definition"].encode()).hexdigest()[:32] for row in rows},
        sorted((REQUIRED_GUARDS - in_force) | set(unguarded)),
    )


def _fires_always(guard: str, definition: str) -> bool:
    """Return False for a trigger of the books that a session can avoid: `A` is ENABLE ALWAYS."""
    return guard not in REQUIRED_GUARDS or not guard.startswith("trigger ") or definition.startswith("A ")


async def read_repairs(connection: "Connection[Record]") -> list[Repair]:
    """Return every recorded repair of the books."""
    return [Repair(**row) for row in await connection.fetch(READ_REPAIRS)]
