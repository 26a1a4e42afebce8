"""The tables of sets of corrections, which reverse many entries under one key."""

from sqlalchemy import BigInteger, CheckConstraint, Date, Integer, PrimaryKeyConstraint, Table, Text, UniqueConstraint

from app.store.tables.columns import Identifier, Timestamp, metadata, reference, required

correction_sets = Table(
    "correction_sets",
    metadata,
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

correction_set_entries = Table(
    "correction_set_entries",
    metadata,
    reference("idempotency_key", "correction_sets.idempotency_key", "Set"),
    required("position", Integer, "Position in the set, from 1: the entries of a campaign follow one another"),
    required("entry_id", BigInteger, "Entry to reverse"),
    required("booked_on", Date, "Day of that entry"),
    required("campaign_id", Identifier, "Campaign of that entry"),
    PrimaryKeyConstraint("idempotency_key", "position"),
    UniqueConstraint("idempotency_key", "entry_id", name="an_entry_is_in_a_set_once"),
    comment="The entries of each set of corrections; append-only",
)
