"""The outbox of events, the webhooks that receive them, and the deliveries that are pending."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.store.tables.columns import (
    Identifier,
    Timestamp,
    allowed_values,
    key_column,
    metadata,
    optional,
    reference,
    required,
)

webhooks = Table(
    "webhooks",
    metadata,
    key_column("id", Identifier, "Webhook id"),
    required("url", Text, "URL that events are posted to"),
    required("secret", Text, "Secret that signs them: whsec_ and Base64"),
    required("events", ARRAY(Text), "Types of the events that it receives; empty for all", server_default=text("'{}'")),
    required("status", Text, "active or paused; events for a paused webhook wait"),
    allowed_values("webhook_status_is_known", "status", "active paused"),
    comment="URLs of other systems that receive events",
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True, nullable=False, comment="Number of the event"),
    required("created_at", Timestamp, "When it happened", server_default=text("adserver_clock()")),
    required("event", Text, "Type of the event, such as budget.reached_80_percent"),
    required("subject", Text, "The item that the event is about, such as campaign spring"),
    required("payload", JSONB, "The facts, which a webhook receives as data"),
    optional("once_key", Text, "Key of an event that is recorded once; NULL for any number of times"),
    optional("published_at", Timestamp, "When its deliveries were created; NULL until then"),
    UniqueConstraint("once_key", name="event_is_recorded_once"),
    allowed_values(
        "event_is_known",
        "event",
        "budget.reached_80_percent budget.reached_100_percent order.reached_80_percent order.reached_100_percent "
        "campaign.over month.closed books.disagree books.agree",
    ),
    CheckConstraint("octet_length(payload::text) <= 16384", name="payload_is_small"),
    Index("outbox_unpublished", "id", postgresql_where=text("published_at IS NULL")),
    Index("outbox_books", "id", postgresql_where=text("event IN ('books.disagree', 'books.agree')")),
    comment="Events for other systems, each written in the transaction that causes it",
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    reference("webhook_id", "webhooks.id", "Webhook"),
    Column("position", BigInteger, Identity(always=True), nullable=False, comment="Increases in the order of delivery"),
    Column("event_id", BigInteger, ForeignKey("outbox.id"), nullable=False, comment="Event of the outbox"),
    required("attempts", Integer, "Failed attempts so far", server_default=text("0")),
    optional("failing_since", Timestamp, "When the first of them failed; NULL if none did"),
    required(
        "next_attempt_at",
        Timestamp,
        "Earliest time of the next attempt; while one is running, when it is given up for lost",
        server_default=text("clock_timestamp()"),
    ),
    optional("last_error", Text, "Why the latest attempt failed"),
    PrimaryKeyConstraint("webhook_id", "position"),
    UniqueConstraint("event_id", "webhook_id", name="event_is_delivered_once"),
    CheckConstraint("attempts >= 0", name="attempts_are_not_negative"),
    comment="Events that a webhook has not acknowledged; the row with the lowest position is attempted next",
)
