"""Sets of corrections, which reverse many entries under one key.

Revision ID: 0019
Revises: 0018
"""

from alembic import op
from sqlalchemy import BigInteger, CheckConstraint, Date, Integer, PrimaryKeyConstraint, Text, UniqueConstraint

from migrations.columns import Identifier, Timestamp, reference, required

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

# An entry of the set is done when any correction reverses it.
CORRECTION_SETS = """
SELECT s.idempotency_key, s.selection, s.reason, s.recorded_at, s.recorded_by, s.entries, n.reversed, n.skipped,
       s.entries - n.reversed - n.skipped AS remaining
FROM public.correction_sets s
CROSS JOIN LATERAL (
    SELECT count(k.entry_id) FILTER (WHERE k.set_entry IS NOT NULL AND k.idempotency_key = s.idempotency_key) AS reversed,
           count(k.entry_id) FILTER (WHERE k.set_entry IS NULL OR k.idempotency_key <> s.idempotency_key) AS skipped
    FROM public.correction_set_entries e LEFT JOIN public.ledger_corrections k ON k.reverses = e.entry_id
    WHERE e.idempotency_key = s.idempotency_key
) AS n
"""

VIEWS = {
    "correction_sets": (
        CORRECTION_SETS,
        "Sets of entries that were reversed under one key; finance.corrections has the reversal of each",
        {
            "idempotency_key": "Chosen by the caller; repeating it completes the set, and books nothing twice",
            "selection": "How the entries were selected: by conditions, or by a list with this SHA-256",
            "reason": "Reason of the reversals",
            "recorded_at": "When the set was recorded",
            "recorded_by": "Database role that recorded the set",
            "entries": "Number of entries in the set",
            "reversed": "Number of entries that the set has reversed",
            "skipped": "Number of entries that another correction has reversed",
            "remaining": "Number of entries that are not reversed yet; 0 once the set is complete",
        },
    ),
}

TRIGGERS = {
    ("author_is_stamped", "correction_sets"): (
        "BEFORE INSERT ON correction_sets FOR EACH ROW EXECUTE FUNCTION stamp_author()",
        "Records the role of the session as the author",
    ),
    ("sets_are_kept", "correction_sets"): (
        "BEFORE UPDATE OR DELETE ON correction_sets FOR EACH ROW EXECUTE FUNCTION refuse_change()",
        "Keeps sets as they were recorded",
    ),
    ("sets_are_not_truncated", "correction_sets"): (
        "BEFORE TRUNCATE ON correction_sets FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
        "Keeps sets from being truncated",
    ),
    ("sets_are_kept", "correction_set_entries"): (
        "BEFORE UPDATE OR DELETE ON correction_set_entries FOR EACH ROW EXECUTE FUNCTION refuse_change()",
        "Keeps the entries of sets as they were recorded",
    ),
    ("sets_are_not_truncated", "correction_set_entries"): (
        "BEFORE TRUNCATE ON correction_set_entries FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
        "Keeps the entries of sets from being truncated",
    ),
}


def upgrade() -> None:
    create_correction_sets()
    create_correction_set_entries()
    for (trigger, table), (definition, comment) in TRIGGERS.items():
        op.execute(f"CREATE TRIGGER {trigger} {definition}")
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}")
        op.execute(f"COMMENT ON TRIGGER {trigger} ON {table} IS '{comment}'")
    for name, (query, comment, columns) in VIEWS.items():
        op.execute(f"CREATE VIEW finance.{name} AS {query}")
        op.execute(f"COMMENT ON VIEW finance.{name} IS '{comment}'")
        for column, column_comment in columns.items():
            op.execute(f"COMMENT ON COLUMN finance.{name}.\"{column}\" IS '{column_comment}'")
        op.execute(f"GRANT SELECT ON finance.{name} TO adserver_finance, adserver_app")


def downgrade() -> None:
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW finance.{name}")
    op.drop_constraint("reversal_is_in_its_set", "ledger_corrections", type_="foreignkey")
    op.drop_table("correction_set_entries")
    op.drop_table("correction_sets")


def create_correction_sets() -> None:
    op.create_table(
        "correction_sets",
        required("idempotency_key", Identifier, "Chosen by the caller; repeating it completes the set"),
        required("selection", Text, "How the entries were selected: by conditions, or by a list with this SHA-256"),
        required("entries", Integer, "Number of entries in the set"),
        required("reason", Text, "Reason of the reversals"),
        required("recorded_at", Timestamp, "When the set was recorded"),
        required("recorded_by", Text, "Database role that recorded the set"),
        PrimaryKeyConstraint("idempotency_key"),
        CheckConstraint("entries > 0", name="set_has_entries"),
        comment="Sets of entries that are reversed under one key; append-only",
    )
    # The server's role records sets and cannot change or delete them.
    op.execute("GRANT SELECT, INSERT ON correction_sets TO adserver_app")


def create_correction_set_entries() -> None:
    op.create_table(
        "correction_set_entries",
        reference("idempotency_key", "correction_sets.idempotency_key", "Set"),
        required("position", Integer, "Position in the set, from 1: the entries of a campaign follow one another"),
        required("entry_id", BigInteger, "Entry to reverse"),
        required("booked_on", Date, "Day of that entry"),
        required("campaign_id", Identifier, "Campaign of that entry"),
        PrimaryKeyConstraint("idempotency_key", "position"),
        UniqueConstraint("idempotency_key", "entry_id", name="an_entry_is_in_a_set_once"),
        comment="The entries of each set of corrections; append-only",
    )
    op.execute("GRANT SELECT, INSERT ON correction_set_entries TO adserver_app")
    op.create_foreign_key(
        "reversal_is_in_its_set",
        "ledger_corrections",
        "correction_set_entries",
        ["idempotency_key", "set_entry"],
        ["idempotency_key", "entry_id"],
    )
