"""Hourly statistics of delivery, which are made from serves, beacons and the ledger."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Integer, Table, Text, UniqueConstraint, text

from app.store.tables.columns import Identifier, Money, Timestamp, metadata, optional, required

delivery_hourly = Table(
    "delivery_hourly",
    metadata,
    required("hour", Timestamp, "Start of the UTC hour"),
    required("campaign_id", Identifier, "Campaign"),
    optional("creative_id", Identifier, "The campaign's own creative; NULL for an upstream's ad"),
    optional("placement_id", Identifier, "Placement; NULL if the request named the campaign"),
    optional("publisher_id", Identifier, "Publisher of the placement"),
    optional("country", Text, "Country of the viewer; NULL if unknown"),
    optional("device_type", Text, "Device type of the viewer; NULL if unknown"),
    required("serves", BigInteger, "Number of ads served"),
    required("seen", BigInteger, "Number of ads whose impression was reported"),
    required("first_quartile", BigInteger, "Number of ads of which the first quarter was played"),
    required("midpoint", BigInteger, "Number of ads of which half was played"),
    required("third_quartile", BigInteger, "Number of ads of which three quarters were played"),
    required("completed", BigInteger, "Number of ads that were played to the end"),
    required("clicks", BigInteger, "Number of ads that were clicked"),
    required("errors", BigInteger, "Number of ads that the player reported as failed"),
    required("late", BigInteger, "Number of impressions, part of seen, whose hold had been released"),
    required("expired", BigInteger, "Number of holds that were released because no impression came in time"),
    required("reversed", BigInteger, "Number of ads whose charge was taken back"),
    required("charged", Money, "Amount charged for ads, of the ledger entries that were booked in the hour"),
    required("corrected", Money, "Amount of adjustments and reversals that were booked in the hour"),
    UniqueConstraint(
        "hour",
        "campaign_id",
        "creative_id",
        "placement_id",
        "publisher_id",
        "country",
        "device_type",
        name="one_row_for_each_hour",
        postgresql_nulls_not_distinct=True,
    ),
    comment="Hourly sums of what happened before delivery_state.rolled_up_to; kept as long as serves are",
)

delivery_state = Table(
    "delivery_state",
    metadata,
    Column("only_row", Integer, primary_key=True, server_default=text("1"), comment="Always 1"),
    required(
        "rolled_up_to",
        Timestamp,
        "delivery_hourly includes everything that happened before this moment and nothing later",
        server_default=text("'-infinity'"),
    ),
    CheckConstraint("only_row = 1", name="delivery_state_has_one_row"),
    comment="The moment up to which delivery is summed up in delivery_hourly; never later than that of the books",
)

requests_hourly = Table(
    "requests_hourly",
    metadata,
    required("hour", Timestamp, "Start of the UTC hour"),
    optional("placement_id", Identifier, "Placement; NULL if the request named a campaign"),
    optional("publisher_id", Identifier, "Publisher of the placement"),
    optional("country", Text, "Country of the viewer; NULL if unknown"),
    optional("device_type", Text, "Device type of the viewer; NULL if unknown"),
    required("requests", BigInteger, "Number of ad requests"),
    UniqueConstraint(
        "hour",
        "placement_id",
        "publisher_id",
        "country",
        "device_type",
        name="one_number_for_each_hour",
        postgresql_nulls_not_distinct=True,
    ),
    comment="Ad requests; each server adds its counts every few seconds: a statistic, kept as long as serves are",
)
