-- One serve by itself: the rows and the checks of app/store's statements for a group of one, as lean as SQL allows.
\set campaign random(1, :campaigns)
\set viewer random(1, :viewers)
BEGIN;
-- Counts the ad in every window of each cap, where there is room.
WITH due AS MATERIALIZED (
    SELECT c.id, c.timezone, w."window", w.impressions,
           window_start(w."window", adserver_clock(), c.timezone) AS window_start
    FROM campaigns c JOIN campaign_caps w ON w.campaign_id = c.id
    WHERE c.id = 'c' || :campaign::text
), counted AS (
    INSERT INTO frequency_caps AS f (user_key, campaign_id, "window", window_start, count, cap, expires_at)
    SELECT md5(:viewer::text)::uuid, id, "window", window_start, 1, impressions,
           window_end("window", window_start, timezone)
    FROM due ORDER BY "window"
    ON CONFLICT (user_key, campaign_id, "window", window_start) DO UPDATE
        SET count = f.count + 1, cap = excluded.cap
        WHERE f.count < excluded.cap
    RETURNING "window"
)
SELECT (SELECT count(*) FROM due) = (SELECT count(*) FROM counted) AS counted \gset
-- Charges every budget period, where there is room, and writes the serve row and the ledger row.
WITH priced AS MATERIALIZED (
    SELECT c.id, c.order_id, c.advertiser_id, a.name AS advertiser_name, c.unit_price AS price, c.currency, c.billing, c.pacing, c.front_percent, c.starts_at, c.ends_at, c.timezone,
           window_start('hour', adserver_clock(), c.timezone) AS hour_start,
           window_start('day', adserver_clock(), c.timezone) AS day_start,
           (adserver_clock() AT TIME ZONE c.timezone)::date AS booked_on
    FROM campaigns c JOIN advertisers a ON a.id = c.advertiser_id
    WHERE c.id = 'c' || :campaign::text AND c.status = 'active'
        AND adserver_clock() >= c.starts_at AND adserver_clock() < c.ends_at
), due AS MATERIALIZED (
    SELECT p.*, b.budget_id, b.period,
           CASE b.period WHEN 'hour' THEN hour_start WHEN 'day' THEN day_start ELSE to_timestamp(0) END AS period_start
    FROM priced p JOIN configured_budgets b ON b.budget_id = ANY (ARRAY[p.id, ' order ' || p.order_id])
), charged AS (
    UPDATE budget_tracking t SET spent = t.spent + d.price, impressions = t.impressions + 1
    FROM due d
    WHERE t.budget_id = d.budget_id AND t.period = d.period AND t.period_start = d.period_start
        AND t.spent + t.held + d.price <= budget_pace(
            t."limit", t.period, t.period_start, d.pacing, d.front_percent, d.starts_at, d.ends_at, d.timezone)
    RETURNING t.period
), paid AS MATERIALIZED (
    SELECT p.*, uuidv7() AS request_key FROM priced p
    WHERE (SELECT count(*) FROM charged) = (SELECT count(*) FROM due)
), served AS (
    INSERT INTO ad_serves (request_key, slot, served_on, served_at, campaign_id, creative_id, user_key,
                           price, currency, billing, fingerprint)
    SELECT request_key, 0, (adserver_clock() AT TIME ZONE 'UTC')::date, adserver_clock(), id, 'creative-of-' || id,
           md5(:viewer::text)::uuid, price, currency, billing, 0
    FROM paid
), booked AS (
    INSERT INTO spend_ledger (booked_at, booked_on, kind, order_id, advertiser_id, advertiser_name, campaign_id,
                              creative_id, request_key, slot, amount, publisher_amount, house_amount, currency,
                              hour_start, day_start)
    SELECT adserver_clock(), booked_on, 'charge', order_id, advertiser_id, advertiser_name, id, 'creative-of-' || id,
           request_key, 0, price, 0, price, currency, hour_start, day_start
    FROM paid
)
SELECT count(*) = 1 AS paid FROM paid \gset
\if :counted and :paid
COMMIT;
\else
ROLLBACK;
\endif
