"""Evidence of delivery: the view of every impression, and hourly sums of what was delivered.

Revision ID: 0018
Revises: 0017
"""

from alembic import op
from sqlalchemy import BigInteger, CheckConstraint, Column, Integer, Text, UniqueConstraint, text

from migrations.columns import Identifier, Money, Timestamp, optional, required

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

# Rows are appended in the order of time, so the smallest kind of index finds those of a span.
PLACE = "campaign_id, creative_id, placement_id, publisher_id, country, device_type"
COUNTERS = {
    "serves": "Number of ads served",
    "seen": "Number of ads whose impression was reported",
    "first_quartile": "Number of ads of which the first quarter was played",
    "midpoint": "Number of ads of which half was played",
    "third_quartile": "Number of ads of which three quarters were played",
    "completed": "Number of ads that were played to the end",
    "clicks": "Number of ads that were clicked",
    "errors": "Number of ads that the player reported as failed",
    "late": "Number of impressions, part of seen, whose hold had been released",
    "expired": "Number of holds that were released because no impression came in time",
    "reversed": "Number of ads whose charge was taken back",
}
AMOUNTS = {
    "charged": "Amount charged for ads, of the ledger entries that were booked in the hour",
    "corrected": "Amount of adjustments and reversals that were booked in the hour",
}

# The serve of a ledger entry is found by the budget hour of the entry, which is that of the serve or, for a late impression,
# that of the charge, at most eight days later. A reversal has the budget hour of its entry; that of an adjustment takes back no ad.
COMPUTE_DELIVERY = f"""
CREATE FUNCTION finance.compute_delivery(since timestamptz, until timestamptz)
RETURNS TABLE (hour timestamptz, campaign_id varchar, creative_id varchar, placement_id varchar, publisher_id varchar,
               country text, device_type text, {", ".join(f"{name} bigint" for name in COUNTERS)}, charged numeric,
               corrected numeric)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
    WITH part AS (
        SELECT s.served_at AS happened_at, s.campaign_id, s.creative_id, s.placement_id, s.publisher_id, s.country,
               s.device_type, 'serve' AS what, false AS is_late, 0 AS charged, 0 AS corrected
        FROM ad_serves s
        WHERE s.served_at >= since AND s.served_at < until
            AND s.served_on BETWEEN (since AT TIME ZONE 'UTC')::date AND (until AT TIME ZONE 'UTC')::date
        UNION ALL
        SELECT e.received_at, s.campaign_id, s.creative_id, s.placement_id, s.publisher_id, s.country, s.device_type,
               e.event, e.event = s.billing AND e.entry_id IS NULL, 0, 0
        FROM ad_events e
        JOIN ad_serves s ON s.request_key = e.request_key AND s.slot = e.slot AND s.served_on = e.served_on
        WHERE e.received_at >= since AND e.received_at < until
            AND e.event IN ('impression', 'firstQuartile', 'midpoint', 'thirdQuartile', 'complete', 'click', 'error')
            AND e.served_on BETWEEN (since AT TIME ZONE 'UTC')::date - 8 AND (until AT TIME ZONE 'UTC')::date
        UNION ALL
        SELECT r.released_at, s.campaign_id, s.creative_id, s.placement_id, s.publisher_id, s.country, s.device_type,
               r.cause, false, 0, 0
        FROM hold_releases r
        JOIN ad_serves s ON s.request_key = r.request_key AND s.slot = r.slot AND s.served_on = r.served_on
        WHERE r.released_at >= since AND r.released_at < until AND r.cause = 'expiry'
            AND r.served_on BETWEEN (since AT TIME ZONE 'UTC')::date - 8 AND (until AT TIME ZONE 'UTC')::date
        UNION ALL
        SELECT l.booked_at, l.campaign_id, l.creative_id, l.placement_id, l.publisher_id, v.country, v.device_type,
               CASE WHEN l.request_key IS NULL THEN 'adjustment' ELSE l.kind END, false,
               CASE WHEN l.kind IN ('charge', 'settle') THEN l.amount ELSE 0 END,
               CASE WHEN l.kind IN ('adjustment', 'reversal') THEN l.amount ELSE 0 END
        FROM spend_ledger l
        LEFT JOIN LATERAL (
            SELECT s.country, s.device_type FROM ad_serves s
            WHERE s.request_key = l.request_key AND s.slot = l.slot
                AND s.served_on BETWEEN (l.hour_start AT TIME ZONE 'UTC')::date - 8
                    AND (l.hour_start AT TIME ZONE 'UTC' + interval '1 hour')::date
            LIMIT 1
        ) AS v ON true
        WHERE l.booked_at >= since AND l.booked_at < until AND l.kind <> 'flat'
    )
    SELECT date_trunc('hour', p.happened_at, 'UTC'), p.campaign_id, p.creative_id, p.placement_id, p.publisher_id,
           p.country, p.device_type, count(*) FILTER (WHERE p.what = 'serve'),
           count(*) FILTER (WHERE p.what = 'impression'), count(*) FILTER (WHERE p.what = 'firstQuartile'),
           count(*) FILTER (WHERE p.what = 'midpoint'), count(*) FILTER (WHERE p.what = 'thirdQuartile'),
           count(*) FILTER (WHERE p.what = 'complete'), count(*) FILTER (WHERE p.what = 'click'),
           count(*) FILTER (WHERE p.what = 'error'), count(*) FILTER (WHERE p.is_late),
           count(*) FILTER (WHERE p.what = 'expiry'), count(*) FILTER (WHERE p.what = 'reversal'), sum(p.charged),
           sum(p.corrected)
    FROM part p GROUP BY 1, 2, 3, 4, 5, 6, 7;
END
"""

# Hours before that of the mark are complete. The sums of the open hour are added to what has happened since the mark.
VALUES = ", ".join([*COUNTERS, *AMOUNTS])
SUMS = ", ".join(
    [*(f"sum({name})::bigint AS {name}" for name in COUNTERS), *(f"sum({name}) AS {name}" for name in AMOUNTS)]
)
MARK = "(SELECT rolled_up_to FROM public.delivery_state)"
OPEN_HOUR = "(SELECT date_trunc('hour', rolled_up_to, 'UTC') FROM public.delivery_state)"
DELIVERY_HOURLY = f"""
SELECT d.hour, d.campaign_id, d.creative_id, d.placement_id, d.publisher_id, d.country, d.device_type, c.currency,
       0::bigint AS requests, {", ".join(f"d.{name}" for name in COUNTERS)}, 0::bigint AS invalid,
       {", ".join(f"d.{name}::numeric(18,6) AS {name}" for name in AMOUNTS)}
FROM (
    SELECT hour, {PLACE}, {VALUES} FROM public.delivery_hourly WHERE hour < {OPEN_HOUR}
    UNION ALL
    SELECT hour, {PLACE}, {SUMS}
    FROM (
        SELECT hour, {PLACE}, {VALUES} FROM public.delivery_hourly WHERE hour >= {OPEN_HOUR}
        UNION ALL
        SELECT hour, {PLACE}, {VALUES} FROM finance.compute_delivery({MARK}, 'infinity')
    ) AS open
    GROUP BY hour, {PLACE}
) AS d JOIN public.campaigns c ON c.id = d.campaign_id
UNION ALL
SELECT hour, NULL, NULL, placement_id, publisher_id, country, device_type, NULL, requests,
       {", ".join("0" for _ in COUNTERS)}, 0, {", ".join("0" for _ in AMOUNTS)}
FROM public.requests_hourly
"""

IMPRESSIONS = """
SELECT s.request_key AS serve_id, s.slot, s.served_on, s.served_at, e.received_at AS seen_at, s.campaign_id,
       s.creative_id, s.upstream_id, s.placement_id, s.publisher_id, s.country, s.region, s.device_type, s.price,
       s.currency, s.billing, n.entry_id, (CASE WHEN n.entry_id IS NULL THEN 0 ELSE s.price END)::numeric(18,6) AS charged,
       k.reverses IS NOT NULL AS reversed
FROM public.ad_serves s
LEFT JOIN public.ad_events e ON e.request_key = s.request_key AND e.slot = s.slot AND e.served_on = s.served_on
    AND e.event = 'impression'
LEFT JOIN public.ad_events b ON b.request_key = s.request_key AND b.slot = s.slot AND b.served_on = s.served_on
    AND b.event = nullif(s.billing, 'impression')
LEFT JOIN public.hold_releases r ON r.request_key = s.request_key AND r.slot = s.slot AND r.served_on = s.served_on
CROSS JOIN LATERAL (SELECT coalesce(s.entry_id, e.entry_id, b.entry_id, r.entry_id) AS entry_id) AS n
LEFT JOIN public.ledger_corrections k ON k.reverses = n.entry_id
"""

# Request ids of the server are UUIDs of version 7, which begin with their time, so the day of the serve is known and only its
# partitions are planned and read. For the id of a client, the day is searched first.
IMPRESSION = """
CREATE FUNCTION finance.impression(serve_id uuid) RETURNS SETOF finance.impressions
LANGUAGE plpgsql STABLE SET search_path = finance, pg_temp
AS $$
DECLARE
    ads CONSTANT text := 'SELECT * FROM impressions WHERE serve_id = $1 AND served_on = $2';
    milliseconds bigint := ('x' || left(replace(serve_id::text, '-', ''), 12))::bit(48)::bigint;
    made_on date := (to_timestamp(milliseconds / 1000.0) AT TIME ZONE 'UTC')::date;
    day date;
BEGIN
    FOREACH day IN ARRAY ARRAY[made_on, made_on + 1, made_on - 1] LOOP
        RETURN QUERY EXECUTE ads USING serve_id, day;
        IF FOUND THEN
            RETURN;
        END IF;
    END LOOP;
    FOR day IN SELECT DISTINCT i.served_on FROM impressions i WHERE i.serve_id = impression.serve_id LOOP
        RETURN QUERY EXECUTE ads USING serve_id, day;
    END LOOP;
END
$$
"""

COLUMNS_OF_PLACE = {
    "creative_id": "The campaign''s own creative; NULL for an upstream''s ad, and for an adjustment",
    "placement_id": "Placement; NULL if the request named the campaign, and for an adjustment",
    "publisher_id": "Publisher of the placement",
    "country": "Country of the viewer, an ISO 3166-1 alpha-2 code; NULL if unknown",
    "device_type": "Device type of the viewer; NULL if unknown",
}

VIEWS = {
    "impressions": (
        IMPRESSIONS,
        "Every ad served: where, when, at what price, and the ledger entry that charged it. Days that retention has dropped "
        "are missing",
        {
            "serve_id": "Request of the serve, as in invoice_lines; the AdServingId in VAST is serve_id-slot",
            "slot": "Position of the ad in its pod; 0 for a single ad",
            "served_on": "UTC day of served_at; a condition on it makes a query read only those days",
            "served_at": "When the ad was served",
            "seen_at": "When its impression was reported; NULL if it was not",
            "campaign_id": "Campaign",
            "creative_id": "The campaign''s own creative; NULL for an upstream''s ad",
            "upstream_id": "Upstream; NULL for a creative of the campaign",
            "placement_id": "Placement; NULL if the request named the campaign",
            "publisher_id": "Publisher of the placement",
            "country": COLUMNS_OF_PLACE["country"],
            "region": "Region of the viewer, an ISO 3166-2 code; NULL if unknown",
            "device_type": COLUMNS_OF_PLACE["device_type"],
            "price": "Price of the ad",
            "currency": "Currency of the price",
            "billing": "Event that charges for the ad: serve, impression, click or complete",
            "entry_id": "Ledger entry of the charge, as in invoice_lines; NULL if the ad was not charged",
            "charged": "Amount of that entry; 0 if the ad was not charged",
            "reversed": "Whether the charge was taken back",
        },
    ),
    "delivery_hourly": (
        DELIVERY_HOURLY,
        "What was delivered, by UTC hour: each thing counts in the hour in which it happened, so an ad served at 10:59 and seen "
        "at 11:00 is a serve of 10:00 and seen at 11:00. Ad requests have rows of their own, without a campaign. Hours are "
        "kept as long as serves are",
        {
            "hour": "Start of the hour",
            "campaign_id": "Campaign; NULL for ad requests, which have none before an ad is served",
            **COLUMNS_OF_PLACE,
            "currency": "Currency of the amounts; NULL for ad requests",
            "requests": "Number of ad requests, without repeated ones; 0 in rows with a campaign",
            **COUNTERS,
            "invalid": "Number of ads found to be invalid traffic; 0, because none is detected yet",
            **AMOUNTS,
        },
    ),
}


def upgrade() -> None:
    create_delivery_hourly()
    create_delivery_state()
    create_requests_hourly()
    op.execute(COMPUTE_DELIVERY)
    op.execute(
        "COMMENT ON FUNCTION finance.compute_delivery IS 'What delivery_hourly shows of a span of time, computed from serves, beacons and the ledger'"
    )
    op.execute("REVOKE EXECUTE ON FUNCTION finance.compute_delivery FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION finance.compute_delivery TO adserver_finance, adserver_app")
    for name, (query, comment, columns) in VIEWS.items():
        op.execute(f"CREATE VIEW finance.{name} AS {query}")
        op.execute(f"COMMENT ON VIEW finance.{name} IS '{comment}'")
        for column, column_comment in columns.items():
            op.execute(f"COMMENT ON COLUMN finance.{name}.{column} IS '{column_comment}'")
        op.execute(f"GRANT SELECT ON finance.{name} TO adserver_finance, adserver_app")
    op.execute(IMPRESSION)
    op.execute("COMMENT ON FUNCTION finance.impression IS 'The ads of a request by its serve_id, within milliseconds'")
    op.execute("REVOKE EXECUTE ON FUNCTION finance.impression FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION finance.impression TO adserver_finance, adserver_app")


def downgrade() -> None:
    op.execute("DROP FUNCTION finance.impression")
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW finance.{name}")
    op.execute("DROP FUNCTION finance.compute_delivery")
    for table in ("requests_hourly", "delivery_state", "delivery_hourly"):
        op.drop_table(table)


def create_delivery_hourly() -> None:
    op.create_table(
        "delivery_hourly",
        required("hour", Timestamp, "Start of the UTC hour"),
        required("campaign_id", Identifier, "Campaign"),
        optional("creative_id", Identifier, "The campaign's own creative; NULL for an upstream's ad"),
        optional("placement_id", Identifier, "Placement; NULL if the request named the campaign"),
        optional("publisher_id", Identifier, "Publisher of the placement"),
        optional("country", Text, "Country of the viewer; NULL if unknown"),
        optional("device_type", Text, "Device type of the viewer; NULL if unknown"),
        *(required(name, BigInteger, comment) for name, comment in COUNTERS.items()),
        *(required(name, Money, comment) for name, comment in AMOUNTS.items()),
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
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON delivery_hourly TO adserver_app")


def create_delivery_state() -> None:
    op.create_table(
        "delivery_state",
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
    op.execute("INSERT INTO delivery_state DEFAULT VALUES")
    op.execute("GRANT SELECT, UPDATE ON delivery_state TO adserver_app")


def create_requests_hourly() -> None:
    op.create_table(
        "requests_hourly",
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
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON requests_hourly TO adserver_app")
