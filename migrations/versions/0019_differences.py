"""Sets of corrections, which reverse many entries under one key; what third parties counted, and how it differs.

Revision ID: 0019
Revises: 0018
"""

from alembic import op
from sqlalchemy import BigInteger, CheckConstraint, Date, Integer, PrimaryKeyConstraint, Text, UniqueConstraint

from migrations.columns import Identifier, Timestamp, key_column, reference, required

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

# Only the newest count of a day is compared. A day between the first and the last one that a source reported is compared
# even if it did not report it. An ad that was released belongs to the day of its serve.
DISCREPANCIES = """
WITH newest AS (
    SELECT DISTINCT ON (source, day, campaign_id) source, day, campaign_id, impressions
    FROM public.third_party_counts ORDER BY source, day, campaign_id, version DESC
), span AS (
    SELECT source, campaign_id, min(day) AS first, max(day) AS last FROM newest GROUP BY source, campaign_id
), booked AS (
    SELECT s.source, d.day, d.campaign_id, d.impressions, d.reversed
    FROM span s JOIN finance.campaign_spend_daily d ON d.campaign_id = s.campaign_id AND d.day BETWEEN s.first AND s.last
), compared AS (
    SELECT source, day, campaign_id, coalesce(b.impressions, 0) AS ours, n.impressions AS theirs,
           coalesce(b.reversed, 0) AS reversed
    FROM newest n FULL JOIN booked b USING (source, day, campaign_id)
), released AS (
    SELECT r.campaign_id, r.booked_on AS day, count(*) FILTER (WHERE r.cause = 'error') AS error,
           count(*) FILTER (WHERE r.cause = 'expiry' AND e.event IS NOT NULL AND r.entry_id IS NULL) AS late,
           count(*) FILTER (WHERE r.cause = 'expiry' AND e.event IS NULL) AS expired
    FROM public.hold_releases r
    LEFT JOIN public.ad_events e ON e.request_key = r.request_key AND e.slot = r.slot AND e.served_on = r.served_on
        AND e.event = r.billing
    WHERE r.served_on >= (SELECT min(first) - 1 FROM span) AND r.served_on <= (SELECT max(last) + 1 FROM span)
    GROUP BY r.campaign_id, r.booked_on
)
SELECT d.day, d.source, d.campaign_id, c.advertiser, d.ours, d.theirs, d.theirs - d.ours AS difference,
       round((d.theirs - d.ours) * 100.0 / nullif(d.ours, 0), 2) AS difference_percentage,
       CASE WHEN k.is_kept THEN coalesce(r.late, 0) END AS late,
       CASE WHEN k.is_kept THEN coalesce(r.error, 0) END AS error,
       CASE WHEN k.is_kept THEN coalesce(r.expired, 0) END AS expired,
       coalesce(p.impressions, 0) AS repeat, d.reversed
FROM compared d JOIN public.campaigns c ON c.id = d.campaign_id
LEFT JOIN released r ON r.campaign_id = d.campaign_id AND r.day = d.day
LEFT JOIN public.repeated_impressions p ON p.campaign_id = d.campaign_id AND p.day = d.day
CROSS JOIN LATERAL (
    SELECT NOT EXISTS (
        SELECT FROM public.retention t
        WHERE t.parent IN ('hold_releases', 'ad_events') AND t.dropped_before > d.day - 1) AS is_kept
) AS k
"""

THIRD_PARTY_COUNTS = """
SELECT source, day, campaign_id, version, impressions, recorded_at, recorded_by FROM public.third_party_counts
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
    "third_party_counts": (
        THIRD_PARTY_COUNTS,
        "Every count of a third party that was ever imported; the highest version of a day counts",
        {
            "source": "Who counted",
            "day": "Day in the campaign''s time zone",
            "campaign_id": "Campaign",
            "version": "Number of the count of this source, day and campaign, from 1",
            "impressions": "Number of impressions that the source counted",
            "recorded_at": "When the count was imported",
            "recorded_by": "Database role that imported the count",
        },
    ),
    "discrepancies": (
        DISCREPANCIES,
        "Our impressions beside those that third parties counted, and of what the difference may consist",
        {
            "day": "Day in the campaign''s time zone",
            "source": "Who counted",
            "campaign_id": "Campaign",
            "advertiser": "Name of the advertiser",
            "ours": "Number of ads that were charged, as impressions in campaign_spend_daily",
            "theirs": "Number of impressions that the source counted; NULL for a day between others that it did not report",
            "difference": "theirs - ours",
            "difference_percentage": "difference in percent; NULL if `ours` is 0",
            "late": "Ads of the day whose impression came after their hold had expired, and was not charged; NULL for a day that "
            "retention has dropped",
            "error": "Ads of the day that the player reported as failed, and that were not charged; NULL as late",
            "expired": "Ads of the day whose impression never came, and that were not charged; NULL as late",
            "repeat": "Impressions that were reported again and not counted again, on the day on which they came: a statistic",
            "reversed": "Number of ads whose charge was taken back on the day",
        },
    ),
}

TRIGGERS = {
    ("author_is_stamped", "third_party_counts"): (
        "BEFORE INSERT ON third_party_counts FOR EACH ROW EXECUTE FUNCTION stamp_author()",
        "Records the role of the session as the author",
    ),
    ("counts_are_kept", "third_party_counts"): (
        "BEFORE UPDATE OR DELETE ON third_party_counts FOR EACH ROW EXECUTE FUNCTION refuse_change()",
        "Keeps counts as they were imported",
    ),
    ("counts_are_not_truncated", "third_party_counts"): (
        "BEFORE TRUNCATE ON third_party_counts FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
        "Keeps counts from being truncated",
    ),
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


# Corrections are few, and none has a set yet: the check of the table takes no time.
REVERSAL_IS_IN_ITS_SET = """
-- squawk-ignore constraint-missing-not-valid, adding-foreign-key-constraint
ALTER TABLE ledger_corrections ADD CONSTRAINT reversal_is_in_its_set
FOREIGN KEY (idempotency_key, set_entry) REFERENCES correction_set_entries (idempotency_key, entry_id)
"""


def upgrade() -> None:
    create_correction_sets()
    create_correction_set_entries()
    create_third_party_counts()
    create_repeated_impressions()
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
    op.drop_table("repeated_impressions")
    op.drop_table("third_party_counts")
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
    op.execute(REVERSAL_IS_IN_ITS_SET)


def create_third_party_counts() -> None:
    op.create_table(
        "third_party_counts",
        required("source", Identifier, "Who counted"),
        required("day", Date, "Day in the campaign's time zone"),
        reference("campaign_id", "campaigns.id", "Campaign"),
        required(
            "version", Integer, "Number of the count of this source, day and campaign, from 1; the highest counts"
        ),
        required("impressions", BigInteger, "Number of impressions that the source counted"),
        required("recorded_at", Timestamp, "When the count was imported"),
        required("recorded_by", Text, "Database role that imported the count"),
        PrimaryKeyConstraint("source", "day", "campaign_id", "version"),
        CheckConstraint("impressions >= 0 AND version > 0", name="count_is_not_negative"),
        comment="Impressions that third parties counted, every version of each count; append-only",
    )
    op.execute("GRANT SELECT, INSERT ON third_party_counts TO adserver_app")


def create_repeated_impressions() -> None:
    op.create_table(
        "repeated_impressions",
        key_column("day", Date, "Day in the campaign's time zone"),
        key_column("campaign_id", Identifier, "Campaign"),
        required("impressions", BigInteger, "Number of impressions that were reported again, and not counted again"),
        comment="Repeated impressions by day and campaign: a statistic, not part of the books",
    )
    op.execute("GRANT SELECT, INSERT, UPDATE ON repeated_impressions TO adserver_app")
