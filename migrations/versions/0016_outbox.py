"""Events for other systems, written in the transaction that causes them, and the webhooks that receive them.

Revision ID: 0016
Revises: 0015
"""

from alembic import op
from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Integer,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from migrations.columns import Identifier, Timestamp, allowed_values, key_column, optional, reference, required

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

# Nobody but the owner changes an event after it was recorded.
GRANTS = {
    "webhooks": "SELECT, INSERT, UPDATE",
    "outbox": "SELECT, INSERT, UPDATE (published_at), DELETE",
    "webhook_deliveries": "SELECT, INSERT, UPDATE, DELETE",
}

# The function runs only when a threshold is crossed. The key lets each event be recorded once for each limit of a period,
# although released holds and reversals take a budget back below a threshold, which the next ad crosses again.
RECORD_BUDGET_THRESHOLD = """
CREATE FUNCTION record_budget_threshold() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
BEGIN
    INSERT INTO outbox (event, subject, payload, once_key)
    SELECT format('%s.reached_%s_percent', CASE WHEN NEW.order_id IS NULL THEN 'budget' ELSE 'order' END, t.percent),
           CASE WHEN NEW.order_id IS NULL THEN 'campaign ' || NEW.campaign_id ELSE 'order ' || NEW.order_id END,
           jsonb_strip_nulls(jsonb_build_object(
               'campaign_id', NEW.campaign_id,
               'order_id', NEW.order_id,
               'period', NEW.period,
               'period_start', to_char(NEW.period_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
               'percent', t.percent,
               'unit', u.unit,
               'currency', CASE WHEN u.unit = 'amount' THEN coalesce(
                   (SELECT currency FROM campaigns WHERE id = NEW.campaign_id),
                   (SELECT currency FROM orders WHERE id = NEW.order_id)) END,
               'used', u.used::text,
               'limit', u."limit"::text
           )),
           concat_ws(' ', 'budget', NEW.budget_id, NEW.period, extract(epoch FROM NEW.period_start), u.unit, t.percent,
                     u."limit")
    FROM (VALUES
        ('amount', OLD.spent + OLD.held, OLD."limit", NEW.spent + NEW.held, NEW."limit"),
        ('impressions', OLD.impressions, OLD.impressions_limit, NEW.impressions, NEW.impressions_limit)
    ) AS u (unit, used_before, limit_before, used, "limit")
    CROSS JOIN (VALUES (80, 0.8), (100, 1)) AS t (percent, part)
    WHERE u.used_before < t.part * u.limit_before AND u.used >= t.part * u."limit" AND u."limit" > 0
    ORDER BY u.unit, t.percent
    ON CONFLICT (once_key) DO NOTHING;
    RETURN NULL;
END
$$
"""

# Most updates of a budget are below 80 % of it, so one comparison for each unit decides.
THRESHOLD_IS_RECORDED = """
CREATE TRIGGER threshold_is_recorded AFTER UPDATE ON budget_tracking
FOR EACH ROW WHEN (
    (NEW.spent + NEW.held >= 0.8 * NEW."limit" AND (
        OLD.spent + OLD.held < 0.8 * OLD."limit"
        OR (NEW.spent + NEW.held >= NEW."limit" AND OLD.spent + OLD.held < OLD."limit")))
    OR (NEW.impressions * 5 >= NEW.impressions_limit * 4 AND (
        OLD.impressions * 5 < OLD.impressions_limit * 4
        OR (NEW.impressions >= NEW.impressions_limit AND OLD.impressions < OLD.impressions_limit)))
)
EXECUTE FUNCTION record_budget_threshold()
"""

# The history of what is set up has webhooks too.
NOTING_TRIGGERS = {
    "webhook_change_is_noted": (
        "AFTER INSERT OR UPDATE OR DELETE ON webhooks FOR EACH ROW EXECUTE FUNCTION note_setup_change('webhook', 'id')",
        "Notes the change of the webhook",
    ),
    "webhook_truncation_is_noted": (
        "AFTER TRUNCATE ON webhooks FOR EACH STATEMENT EXECUTE FUNCTION note_setup_change('webhook')",
        "Notes the change of every webhook",
    ),
}

COMMENTS = {
    "FUNCTION record_budget_threshold()": "Records that 80 or 100 percent of a budget was reached, once for each limit",
    "TRIGGER threshold_is_recorded ON budget_tracking": "Records events in the transaction that reaches a threshold",
}


def upgrade() -> None:
    create_webhooks()
    create_outbox()
    create_webhook_deliveries()
    for table, privileges in GRANTS.items():
        op.execute(f"GRANT {privileges} ON {table} TO adserver_app")
    op.execute(RECORD_BUDGET_THRESHOLD)
    op.execute(THRESHOLD_IS_RECORDED)
    for target, comment in COMMENTS.items():
        op.execute(f"COMMENT ON {target} IS '{comment}'")
    for trigger, (definition, comment) in NOTING_TRIGGERS.items():
        op.execute(f"CREATE TRIGGER {trigger} {definition}")
        op.execute(f"ALTER TABLE webhooks ENABLE ALWAYS TRIGGER {trigger}")
        op.execute(f"COMMENT ON TRIGGER {trigger} ON webhooks IS '{comment}'")


def downgrade() -> None:
    op.execute("DROP TRIGGER threshold_is_recorded ON budget_tracking")
    op.execute("DROP FUNCTION record_budget_threshold()")
    for table in reversed(GRANTS):
        op.drop_table(table)


def create_webhooks() -> None:
    op.create_table(
        "webhooks",
        key_column("id", Identifier, "Webhook id"),
        required("url", Text, "URL that events are posted to"),
        required("secret", Text, "Secret that signs them: whsec_ and Base64"),
        required(
            "events", ARRAY(Text), "Types of the events that it receives; empty for all", server_default=text("'{}'")
        ),
        required("status", Text, "active or paused; events for a paused webhook wait"),
        allowed_values("webhook_status_is_known", "status", "active paused"),
        comment="URLs of other systems that receive events",
    )


def create_outbox() -> None:
    op.create_table(
        "outbox",
        Column(
            "id", BigInteger, Identity(always=True), primary_key=True, nullable=False, comment="Number of the event"
        ),
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
        comment="Events for other systems, each written in the transaction that causes it",
    )
    op.create_index("outbox_unpublished", "outbox", ["id"], postgresql_where=text("published_at IS NULL"))
    op.create_index(
        "outbox_books", "outbox", ["id"], postgresql_where=text("event IN ('books.disagree', 'books.agree')")
    )


def create_webhook_deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        reference("webhook_id", "webhooks.id", "Webhook"),
        Column(
            "position", BigInteger, Identity(always=True), nullable=False, comment="Increases in the order of delivery"
        ),
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
