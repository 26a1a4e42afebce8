"""The tables of what third parties counted, to be compared with our own impressions."""

from sqlalchemy import BigInteger, CheckConstraint, Date, Integer, PrimaryKeyConstraint, Table, Text

from app.store.tables.columns import Identifier, Timestamp, key_column, metadata, reference, required

third_party_counts = Table(
    "third_party_counts",
    metadata,
    required("source", Identifier, "Who counted"),
    required("day", Date, "Day in the campaign's time zone"),
    reference("campaign_id", "campaigns.id", "Campaign"),
    required("version", Integer, "Number of the count of this source, day and campaign, from 1; the highest counts"),
    required("impressions", BigInteger, "Number of impressions that the source counted"),
    required("recorded_at", Timestamp, "When the count was imported"),
    required("recorded_by", Text, "Database role that imported the count"),
    PrimaryKeyConstraint("source", "day", "campaign_id", "version"),
    CheckConstraint("impressions >= 0 AND version > 0", name="count_is_not_negative"),
    comment="Impressions that third parties counted, every version of each count; append-only",
)

repeated_impressions = Table(
    "repeated_impressions",
    metadata,
    key_column("day", Date, "Day in the campaign's time zone"),
    key_column("campaign_id", Identifier, "Campaign"),
    required("impressions", BigInteger, "Number of impressions that were reported again, and not counted again"),
    comment="Repeated impressions by day and campaign: a statistic, not part of the books",
)
