-- The schema that `adserver migrate` creates, to be read and not to be run: `make docs` writes this file.
-- Every object belongs to adserver_owner. The partitions of days and months are left out.


-- ====================================================================================================
-- Roles. They have no password and cannot log in until they are given one.

CREATE ROLE adserver_app;
ALTER ROLE adserver_app SET idle_in_transaction_session_timeout = '1min';
ALTER ROLE adserver_app SET transaction_timeout = '1min';
CREATE ROLE adserver_finance;
ALTER ROLE adserver_finance SET default_transaction_read_only = 'on';
ALTER ROLE adserver_finance SET enable_partitionwise_join = 'on';
ALTER ROLE adserver_finance SET idle_in_transaction_session_timeout = '1min';
ALTER ROLE adserver_finance SET lock_timeout = '2s';
ALTER ROLE adserver_finance SET search_path = 'finance, public';
ALTER ROLE adserver_finance SET statement_timeout = '10min';
ALTER ROLE adserver_finance SET temp_file_limit = '5GB';
ALTER ROLE adserver_finance SET transaction_timeout = '15min';
CREATE ROLE adserver_owner;
ALTER ROLE adserver_finance CONNECTION LIMIT 20;
GRANT pg_use_reserved_connections TO adserver_app;
-- Only adserver_owner and adserver_app may use these, where the role that migrates can ensure it:
--   function lo_creat
--   function lo_create
--   function lo_from_bytea
--   function pg_advisory_lock
--   function pg_advisory_lock_shared
--   function pg_advisory_unlock
--   function pg_advisory_unlock_all
--   function pg_advisory_unlock_shared
--   function pg_advisory_xact_lock
--   function pg_advisory_xact_lock_shared
--   function pg_try_advisory_lock
--   function pg_try_advisory_lock_shared
--   function pg_try_advisory_xact_lock
--   function pg_try_advisory_xact_lock_shared
--   temporary tables in the database


-- ====================================================================================================
-- The catalog: what ad operations set up.

-- The revision of the catalog; servers compare it in the serving transaction and reload when it has changed.
CREATE TABLE catalog (
    only_row integer NOT NULL DEFAULT 1,                       -- Always 1
    revision bigint NOT NULL DEFAULT 0,                        -- Increases with every change of the catalog
    CONSTRAINT catalog_pkey PRIMARY KEY (only_row),
    CONSTRAINT catalog_has_one_row CHECK (only_row = 1)
);
GRANT SELECT, UPDATE ON catalog TO adserver_app;

-- The changes of the latest revisions of the catalog, so that servers reload only those.
CREATE TABLE catalog_changes (
    revision bigint NOT NULL,                                  -- Revision of the catalog
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),    -- When the revision was created
    advertisers varchar[] COLLATE "C" NOT NULL,                -- Ids of the advertisers that were created or replaced
    orders varchar[] COLLATE "C" NOT NULL,                     -- Ids of the orders that were created or replaced
    publishers varchar[] COLLATE "C" NOT NULL,                 -- Ids of the publishers that were created or replaced
    upstreams varchar[] COLLATE "C" NOT NULL,                  -- Ids of the upstreams that were created or replaced
    campaigns varchar[] COLLATE "C" NOT NULL,                  -- Ids of the campaigns that were created or replaced
    creatives varchar[] COLLATE "C" NOT NULL,                  -- Ids of the creatives that were created or replaced
    placements varchar[] COLLATE "C" NOT NULL,                 -- Ids of the placements that were created or replaced
    webhooks varchar[] COLLATE "C" NOT NULL,                   -- Ids of the webhooks that were created or replaced
    CONSTRAINT catalog_changes_pkey PRIMARY KEY (revision)
);
GRANT DELETE, INSERT, SELECT ON catalog_changes TO adserver_app;

-- Owners of placements.
CREATE TABLE publishers (
    id varchar COLLATE "C" NOT NULL,                           -- Publisher id
    name text NOT NULL,                                        -- Name of the company
    revenue_share numeric(5,4) NOT NULL DEFAULT 0,             -- Part of the price of each ad that the publisher earns, from 0 to 1
    requests_per_s integer,                                    -- Limit of ad requests per second; NULL for no limit
    burst integer,                                             -- Requests above the rate that are accepted together; NULL for one second's worth
    invalid_traffic text NOT NULL DEFAULT 'serve'::text,       -- serve or refuse requests of no viewer
    CONSTRAINT publishers_pkey PRIMARY KEY (id),
    CONSTRAINT publisher_burst_is_positive CHECK (burst > 0),
    CONSTRAINT publisher_invalid_traffic_is_known CHECK (invalid_traffic = ANY (ARRAY['serve'::text, 'refuse'::text])),
    CONSTRAINT publisher_rate_is_positive CHECK (requests_per_s > 0),
    CONSTRAINT revenue_share_is_a_part CHECK (revenue_share >= 0::numeric AND revenue_share <= 1::numeric)
);
-- Notes the change of every publisher.
CREATE TRIGGER publisher_truncation_is_noted AFTER TRUNCATE ON publishers
    FOR EACH STATEMENT EXECUTE FUNCTION note_setup_change('publisher');
ALTER TABLE publishers ENABLE ALWAYS TRIGGER publisher_truncation_is_noted;
-- Notes the change of the publisher.
CREATE TRIGGER publisher_change_is_noted AFTER INSERT OR DELETE OR UPDATE ON publishers
    FOR EACH ROW EXECUTE FUNCTION note_setup_change('publisher', 'id');
ALTER TABLE publishers ENABLE ALWAYS TRIGGER publisher_change_is_noted;
GRANT INSERT, SELECT, UPDATE ON publishers TO adserver_app;

-- Companies that pay for campaigns.
CREATE TABLE advertisers (
    id varchar COLLATE "C" NOT NULL,                           -- Advertiser id
    name text NOT NULL,                                        -- Name of the company
    billing_details text,                                      -- Free text for invoices, such as an address
    CONSTRAINT advertisers_pkey PRIMARY KEY (id),
    CONSTRAINT advertiser_has_one_name UNIQUE (id, name)
);
-- Notes the change of every advertiser.
CREATE TRIGGER advertiser_truncation_is_noted AFTER TRUNCATE ON advertisers
    FOR EACH STATEMENT EXECUTE FUNCTION note_setup_change('advertiser');
ALTER TABLE advertisers ENABLE ALWAYS TRIGGER advertiser_truncation_is_noted;
-- Notes the change of the advertiser.
CREATE TRIGGER advertiser_change_is_noted AFTER INSERT OR DELETE OR UPDATE ON advertisers
    FOR EACH ROW EXECUTE FUNCTION note_setup_change('advertiser', 'id');
ALTER TABLE advertisers ENABLE ALWAYS TRIGGER advertiser_change_is_noted;
GRANT INSERT, SELECT, UPDATE ON advertisers TO adserver_app;

-- Orders of advertisers; the campaigns of an order share its budget.
CREATE TABLE orders (
    id varchar COLLATE "C" NOT NULL,                           -- Order id
    advertiser_id varchar COLLATE "C" NOT NULL,                -- Advertiser, who pays for the order
    currency varchar(3) NOT NULL,                              -- ISO 4217 code of every amount of this order
    starts_at timestamptz,                                     -- Earliest start of its campaigns; NULL for any
    ends_at timestamptz,                                       -- Latest end of its campaigns, exclusive; NULL for any
    budget numeric(18,6),                                      -- Amount that its campaigns may spend together; NULL for no limit
    impressions bigint,                                        -- Number of ads that its campaigns may serve together; NULL for no limit
    prepaid boolean NOT NULL DEFAULT false,                    -- Whether only credited money may be spent
    purchase_order text,                                       -- The advertiser's purchase order number
    CONSTRAINT orders_pkey PRIMARY KEY (id),
    CONSTRAINT order_has_one_advertiser_and_currency UNIQUE (id, advertiser_id, currency),
    CONSTRAINT orders_advertiser_id_fkey FOREIGN KEY (advertiser_id) REFERENCES advertisers(id),
    CONSTRAINT order_budget_is_not_negative CHECK (budget >= 0::numeric AND impressions >= 0),
    CONSTRAINT order_currency_is_a_code CHECK (currency::text ~ '^[A-Z]{3}$'::text),
    CONSTRAINT order_ends_after_it_starts CHECK (ends_at > starts_at)
);
-- Notes the change of every order.
CREATE TRIGGER order_truncation_is_noted AFTER TRUNCATE ON orders
    FOR EACH STATEMENT EXECUTE FUNCTION note_setup_change('order');
ALTER TABLE orders ENABLE ALWAYS TRIGGER order_truncation_is_noted;
-- Notes the change of the order.
CREATE TRIGGER order_change_is_noted AFTER INSERT OR DELETE OR UPDATE ON orders
    FOR EACH ROW EXECUTE FUNCTION note_setup_change('order', 'id');
ALTER TABLE orders ENABLE ALWAYS TRIGGER order_change_is_noted;
GRANT INSERT, SELECT, UPDATE ON orders TO adserver_app;

-- Other ad servers that ads are fetched from.
CREATE TABLE upstreams (
    id varchar COLLATE "C" NOT NULL,                           -- Upstream id
    tag_url text NOT NULL,                                     -- VAST tag URL with macros
    timeout_ms integer NOT NULL,                               -- Timeout of one attempt in milliseconds
    max_body_bytes integer NOT NULL,                           -- Largest decompressed body that is accepted
    max_redirects integer NOT NULL,                            -- Number of redirects that are followed
    cache_ttl_s integer NOT NULL,                              -- Seconds for which a cached body is fresh; 0 turns the cache off
    stale_while_revalidate_s integer NOT NULL,                 -- Seconds for which a stale body is served while it is fetched again
    stale_if_error_s integer NOT NULL,                         -- Seconds for which a stale body is served while the upstream fails
    max_qps integer,                                           -- Limit of requests per second from all servers; NULL for no limit
    max_in_flight integer NOT NULL,                            -- Limit of concurrent requests of each server process
    breaker_failures integer NOT NULL,                         -- Consecutive failures that open the circuit breaker
    breaker_reset_s integer NOT NULL,                          -- Seconds for which the breaker stays open before one trial request
    hedge boolean NOT NULL,                                    -- Whether the next upstream is also requested once this one takes longer than its p95
    CONSTRAINT upstreams_pkey PRIMARY KEY (id),
    CONSTRAINT upstream_limits_are_positive CHECK (timeout_ms > 0 AND max_body_bytes > 0 AND max_in_flight > 0 AND breaker_failures > 0 AND breaker_reset_s > 0)
);
-- Notes the change of every upstream.
CREATE TRIGGER upstream_truncation_is_noted AFTER TRUNCATE ON upstreams
    FOR EACH STATEMENT EXECUTE FUNCTION note_setup_change('upstream');
ALTER TABLE upstreams ENABLE ALWAYS TRIGGER upstream_truncation_is_noted;
-- Notes the change of the upstream.
CREATE TRIGGER upstream_change_is_noted AFTER INSERT OR DELETE OR UPDATE ON upstreams
    FOR EACH ROW EXECUTE FUNCTION note_setup_change('upstream', 'id');
ALTER TABLE upstreams ENABLE ALWAYS TRIGGER upstream_change_is_noted;
GRANT INSERT, SELECT, UPDATE ON upstreams TO adserver_app;

-- Campaigns that advertisers bought.
CREATE TABLE campaigns (
    id varchar COLLATE "C" NOT NULL,                           -- Campaign id
    advertiser_id varchar COLLATE "C" NOT NULL,                -- Advertiser, who pays for the campaign
    advertiser text NOT NULL,                                  -- Name of the advertiser, which follows that of advertisers
    order_id varchar COLLATE "C",                              -- Order whose budget the campaign shares; NULL for none
    status text NOT NULL,                                      -- active, paused or ended; only an active campaign serves
    currency varchar(3) NOT NULL,                              -- ISO 4217 code of every amount of this campaign
    timezone text NOT NULL,                                    -- IANA time zone in which its days, weeks and months begin
    starts_at timestamptz NOT NULL,                            -- Start of the flight
    ends_at timestamptz NOT NULL,                              -- End of the flight, exclusive
    price_model text NOT NULL,                                 -- What the price is for: cpm, a thousand ads; cpc, a click; cpcv, a completed view; flat, the flight
    price numeric(18,6) NOT NULL,                              -- Price, as its model says
    unit_price numeric(18,6) NOT NULL GENERATED ALWAYS AS (CASE price_model WHEN 'cpm'::text THEN (price / (1000)::numeric) WHEN 'flat'::text THEN (0)::numeric ELSE price END) STORED, -- Price of one ad, click or completed view; 0 if the flight has a price
    billing text NOT NULL,                                     -- Event that charges for an ad: serve, impression, click or complete
    pacing text NOT NULL,                                      -- asap; even: spend may grow linearly with time; or front: ahead of that
    front_percent smallint,                                    -- Percent by which spend may be ahead of even pacing; NULL unless front
    without_user text NOT NULL,                                -- skip or serve a request without a user to count, if the campaign has caps
    late_impressions text NOT NULL,                            -- ignore or charge an event that was sold and whose hold was released
    hold_ttl_s integer NOT NULL,                               -- Seconds for which a hold waits for the event that was sold
    direct boolean NOT NULL DEFAULT false,                     -- Whether requests may name the campaign by campaign_id; if not, only placements sell it
    targeting jsonb NOT NULL DEFAULT '{}'::jsonb,              -- Countries, device types and genres that it may serve
    priority smallint NOT NULL DEFAULT 5,                      -- 1, which is served first, to 10
    weight integer NOT NULL DEFAULT 1,                         -- Its share of the ads of its priority
    ads_per_pod smallint NOT NULL DEFAULT 1,                   -- Maximum number of its creatives in a pod
    categories text[] NOT NULL DEFAULT '{}'::text[],           -- IAB content taxonomy ids: what is advertised
    CONSTRAINT campaigns_pkey PRIMARY KEY (id),
    CONSTRAINT campaign_fits_its_order FOREIGN KEY (order_id, advertiser_id, currency) REFERENCES orders(id, advertiser_id, currency) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT campaign_has_an_advertiser FOREIGN KEY (advertiser_id, advertiser) REFERENCES advertisers(id, name) ON UPDATE CASCADE,
    CONSTRAINT billing_fits_the_price CHECK (
CASE price_model
    WHEN 'cpc'::text THEN billing = 'click'::text
    WHEN 'cpcv'::text THEN billing = 'complete'::text
    WHEN 'flat'::text THEN billing = 'serve'::text
    ELSE billing = ANY (ARRAY['serve'::text, 'impression'::text])
END),
    CONSTRAINT campaign_ads_per_pod_is_positive CHECK (ads_per_pod > 0),
    CONSTRAINT campaign_billing_is_known CHECK (billing = ANY (ARRAY['serve'::text, 'impression'::text, 'click'::text, 'complete'::text])),
    CONSTRAINT campaign_currency_is_a_code CHECK (currency::text ~ '^[A-Z]{3}$'::text),
    CONSTRAINT campaign_late_impressions_is_known CHECK (late_impressions = ANY (ARRAY['ignore'::text, 'charge'::text])),
    CONSTRAINT campaign_pacing_is_known CHECK (pacing = ANY (ARRAY['asap'::text, 'even'::text, 'front'::text])),
    CONSTRAINT campaign_price_model_is_known CHECK (price_model = ANY (ARRAY['cpm'::text, 'cpc'::text, 'cpcv'::text, 'flat'::text])),
    CONSTRAINT campaign_priority_is_from_1_to_10 CHECK (priority >= 1 AND priority <= 10),
    CONSTRAINT campaign_status_is_known CHECK (status = ANY (ARRAY['active'::text, 'paused'::text, 'ended'::text])),
    CONSTRAINT campaign_weight_is_positive CHECK (weight > 0),
    CONSTRAINT campaign_without_user_is_known CHECK (without_user = ANY (ARRAY['skip'::text, 'serve'::text])),
    CONSTRAINT cpm_has_three_decimals CHECK (price_model <> 'cpm'::text OR scale(trim_scale(price)) <= 3),
    CONSTRAINT flight_ends_after_it_starts CHECK (ends_at > starts_at),
    CONSTRAINT front_pacing_has_a_percentage CHECK (
CASE pacing
    WHEN 'front'::text THEN (front_percent >= 1 AND front_percent <= 100) IS TRUE
    ELSE front_percent IS NULL
END),
    CONSTRAINT hold_ttl_is_positive CHECK (hold_ttl_s > 0),
    CONSTRAINT price_is_not_negative CHECK (price >= 0::numeric)
);
-- Notes the change of every campaign.
CREATE TRIGGER campaign_truncation_is_noted AFTER TRUNCATE ON campaigns
    FOR EACH STATEMENT EXECUTE FUNCTION note_setup_change('campaign');
ALTER TABLE campaigns ENABLE ALWAYS TRIGGER campaign_truncation_is_noted;
-- Notes the change of the campaign.
CREATE TRIGGER campaign_change_is_noted AFTER INSERT OR DELETE OR UPDATE ON campaigns
    FOR EACH ROW EXECUTE FUNCTION note_setup_change('campaign', 'id');
ALTER TABLE campaigns ENABLE ALWAYS TRIGGER campaign_change_is_noted;
GRANT INSERT, SELECT, UPDATE ON campaigns TO adserver_app;

-- The configured budgets of campaigns and orders; budget_tracking has what was spent of them.
CREATE TABLE configured_budgets (
    budget_id varchar COLLATE "C" NOT NULL GENERATED ALWAYS AS (COALESCE(campaign_id, ((' order '::text || (order_id)::text))::character varying)) STORED, -- The campaign's id, or ' order ' and the order's id: no id begins with a space
    period text NOT NULL,                                      -- hour, day or lifetime; always lifetime for an order
    campaign_id varchar COLLATE "C",                           -- Campaign; NULL for the budget of an order
    order_id varchar COLLATE "C",                              -- Order; NULL for the budget of a campaign
    "limit" numeric(18,6),                                     -- Amount that may be spent in each period; of a prepaid order, at most what was credited; NULL for no limit
    impressions_limit bigint,                                  -- Number of ads that may be served in each period; NULL for no limit
    CONSTRAINT configured_budgets_pkey PRIMARY KEY (budget_id, period),
    CONSTRAINT configured_budgets_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES campaigns(id),
    CONSTRAINT configured_budgets_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders(id),
    CONSTRAINT budget_has_a_limit CHECK (num_nonnulls("limit", impressions_limit) > 0),
    CONSTRAINT budget_has_one_owner CHECK ((campaign_id IS NULL) <> (order_id IS NULL)),
    CONSTRAINT budget_is_not_negative CHECK ("limit" >= 0::numeric),
    CONSTRAINT budget_period_is_known CHECK (period = ANY (ARRAY['hour'::text, 'day'::text, 'lifetime'::text])),
    CONSTRAINT budgeted_impressions_are_not_negative CHECK (impressions_limit >= 0),
    CONSTRAINT order_budget_is_for_its_lifetime CHECK (campaign_id IS NOT NULL OR period = 'lifetime'::text)
);
-- Notes the change of every campaign.
CREATE TRIGGER campaign_truncation_is_noted AFTER TRUNCATE ON configured_budgets
    FOR EACH STATEMENT EXECUTE FUNCTION note_setup_change('campaign');
ALTER TABLE configured_budgets ENABLE ALWAYS TRIGGER campaign_truncation_is_noted;
-- Notes the change of every order.
CREATE TRIGGER order_truncation_is_noted AFTER TRUNCATE ON configured_budgets
    FOR EACH STATEMENT EXECUTE FUNCTION note_setup_change('order');
ALTER TABLE configured_budgets ENABLE ALWAYS TRIGGER order_truncation_is_noted;
-- Notes the change of the campaign.
CREATE TRIGGER campaign_change_is_noted AFTER INSERT OR DELETE OR UPDATE ON configured_budgets
    FOR EACH ROW EXECUTE FUNCTION note_setup_change('campaign', 'campaign_id');
ALTER TABLE configured_budgets ENABLE ALWAYS TRIGGER campaign_change_is_noted;
-- Notes the change of the order.
CREATE TRIGGER order_change_is_noted AFTER INSERT OR DELETE OR UPDATE ON configured_budgets
    FOR EACH ROW EXECUTE FUNCTION note_setup_change('order', 'order_id');
ALTER TABLE configured_budgets ENABLE ALWAYS TRIGGER order_change_is_noted;
GRANT DELETE, INSERT, SELECT, UPDATE ON configured_budgets TO adserver_app;

-- The configured frequency caps of campaigns; frequency_caps has the counts.
CREATE TABLE campaign_caps (
    campaign_id varchar COLLATE "C" NOT NULL,                  -- Campaign
    level text NOT NULL,                                       -- What it counts: ads of each creative, the campaign, its order or its advertiser
    "window" text NOT NULL,                                    -- minute, hour, day, week, month, lifetime, session, or a length such as 90 minutes
    counter varchar COLLATE "C" NOT NULL,                      -- The campaign's id, or ' order ' or ' advertiser ' and an id: whose ads it counts
    impressions integer NOT NULL,                              -- Number of ads that one user may be served in each window
    counts_from timestamptz NOT NULL DEFAULT adserver_clock(), -- When this cap began to count; earlier serves are not counted
    CONSTRAINT campaign_caps_pkey PRIMARY KEY (campaign_id, level, "window"),
    CONSTRAINT campaign_caps_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES campaigns(id),
    CONSTRAINT cap_counter_is_of_level CHECK ((level = ANY (ARRAY['campaign'::text, 'creative'::text])) = (counter::text = campaign_id::text)),
    CONSTRAINT cap_is_positive CHECK (impressions > 0),
    CONSTRAINT cap_level_is_known CHECK (level = ANY (ARRAY['creative'::text, 'campaign'::text, 'order'::text, 'advertiser'::text])),
    CONSTRAINT cap_window_is_known CHECK (("window" = ANY (ARRAY['minute'::text, 'hour'::text, 'day'::text, 'week'::text, 'month'::text, 'lifetime'::text, 'session'::text])) OR "window" ~ '^(1 (minute|hour|day)|([2-9]|[1-9][0-9]{1,4}) (minutes|hours|days))$'::text)
);
CREATE INDEX campaign_caps_by_counter
    ON campaign_caps USING btree (counter);
-- Notes the change of every campaign.
CREATE TRIGGER campaign_truncation_is_noted AFTER TRUNCATE ON campaign_caps
    FOR EACH STATEMENT EXECUTE FUNCTION note_setup_change('campaign');
ALTER TABLE campaign_caps ENABLE ALWAYS TRIGGER campaign_truncation_is_noted;
-- Notes the change of the campaign.
CREATE TRIGGER campaign_change_is_noted AFTER INSERT OR DELETE OR UPDATE ON campaign_caps
    FOR EACH ROW EXECUTE FUNCTION note_setup_change('campaign', 'campaign_id');
ALTER TABLE campaign_caps ENABLE ALWAYS TRIGGER campaign_change_is_noted;
GRANT DELETE, INSERT, SELECT, UPDATE ON campaign_caps TO adserver_app;

-- The upstreams that a campaign's ads are fetched from, in order.
CREATE TABLE campaign_upstreams (
    campaign_id varchar COLLATE "C" NOT NULL,                  -- Campaign
    "position" smallint NOT NULL,                              -- 0 is tried first
    upstream_id varchar COLLATE "C" NOT NULL,                  -- Upstream
    CONSTRAINT campaign_upstreams_pkey PRIMARY KEY (campaign_id, "position"),
    CONSTRAINT campaign_upstreams_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES campaigns(id),
    CONSTRAINT campaign_upstreams_upstream_id_fkey FOREIGN KEY (upstream_id) REFERENCES upstreams(id)
);
-- Notes the change of every campaign.
CREATE TRIGGER campaign_truncation_is_noted AFTER TRUNCATE ON campaign_upstreams
    FOR EACH STATEMENT EXECUTE FUNCTION note_setup_change('campaign');
ALTER TABLE campaign_upstreams ENABLE ALWAYS TRIGGER campaign_truncation_is_noted;
-- Notes the change of the campaign.
CREATE TRIGGER campaign_change_is_noted AFTER INSERT OR DELETE OR UPDATE ON campaign_upstreams
    FOR EACH ROW EXECUTE FUNCTION note_setup_change('campaign', 'campaign_id');
ALTER TABLE campaign_upstreams ENABLE ALWAYS TRIGGER campaign_change_is_noted;
GRANT DELETE, INSERT, SELECT, UPDATE ON campaign_upstreams TO adserver_app;

-- Places of publishers where ads are shown.
CREATE TABLE placements (
    id varchar COLLATE "C" NOT NULL,                           -- Placement id
    publisher_id varchar COLLATE "C" NOT NULL,                 -- Publisher
    ad_breaks jsonb NOT NULL DEFAULT '[]'::jsonb,              -- Ad breaks for VMAP
    targeted boolean NOT NULL DEFAULT false,                   -- Whether every campaign may serve whose targeting matches, instead of a list
    blocked_advertisers varchar[] COLLATE "C" NOT NULL DEFAULT '{}'::character varying[], -- Ids of advertisers
    blocked_categories text[] NOT NULL DEFAULT '{}'::text[],   -- IAB content taxonomy ids
    CONSTRAINT placements_pkey PRIMARY KEY (id),
    CONSTRAINT placements_publisher_id_fkey FOREIGN KEY (publisher_id) REFERENCES publishers(id)
);
-- Notes the change of every placement.
CREATE TRIGGER placement_truncation_is_noted AFTER TRUNCATE ON placements
    FOR EACH STATEMENT EXECUTE FUNCTION note_setup_change('placement');
ALTER TABLE placements ENABLE ALWAYS TRIGGER placement_truncation_is_noted;
-- Notes the change of the placement.
CREATE TRIGGER placement_change_is_noted AFTER INSERT OR DELETE OR UPDATE ON placements
    FOR EACH ROW EXECUTE FUNCTION note_setup_change('placement', 'id');
ALTER TABLE placements ENABLE ALWAYS TRIGGER placement_change_is_noted;
GRANT INSERT, SELECT, UPDATE ON placements TO adserver_app;

-- The campaigns that may serve in a placement, in order of priority.
CREATE TABLE placement_campaigns (
    placement_id varchar COLLATE "C" NOT NULL,                 -- Placement
    "position" smallint NOT NULL,                              -- 0 is tried first
    campaign_id varchar COLLATE "C" NOT NULL,                  -- Campaign
    CONSTRAINT placement_campaigns_pkey PRIMARY KEY (placement_id, "position"),
    CONSTRAINT placement_campaigns_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES campaigns(id),
    CONSTRAINT placement_campaigns_placement_id_fkey FOREIGN KEY (placement_id) REFERENCES placements(id)
);
-- Notes the change of every placement.
CREATE TRIGGER placement_truncation_is_noted AFTER TRUNCATE ON placement_campaigns
    FOR EACH STATEMENT EXECUTE FUNCTION note_setup_change('placement');
ALTER TABLE placement_campaigns ENABLE ALWAYS TRIGGER placement_truncation_is_noted;
-- Notes the change of the placement.
CREATE TRIGGER placement_change_is_noted AFTER INSERT OR DELETE OR UPDATE ON placement_campaigns
    FOR EACH ROW EXECUTE FUNCTION note_setup_change('placement', 'placement_id');
ALTER TABLE placement_campaigns ENABLE ALWAYS TRIGGER placement_change_is_noted;
GRANT DELETE, INSERT, SELECT, UPDATE ON placement_campaigns TO adserver_app;

-- Every change of what is set up; append-only, written by triggers alone.
CREATE TABLE setup_history (
    kind text NOT NULL,                                        -- advertiser, campaign, creative, order, placement, publisher, upstream or webhook
    id varchar COLLATE "C" NOT NULL,                           -- Id of the item
    version integer NOT NULL,                                  -- Number of the change of this item, from 1
    changed_at timestamptz NOT NULL,                           -- When the change was committed
    revision bigint NOT NULL,                                  -- Revision of the catalog after the change
    old jsonb,                                                 -- The item before the change, like an entry of a campaign file; NULL for a new item
    new jsonb,                                                 -- The item after the change; NULL for a deleted item
    changed_keys text[] NOT NULL,                              -- Keys whose values differ
    author text NOT NULL,                                      -- Who made the change: as given with it, otherwise the database role
    role text NOT NULL DEFAULT SESSION_USER,                   -- Database role that made the change
    source text NOT NULL,                                      -- Campaign file, admin API or demo content; direct for a change by SQL
    CONSTRAINT setup_history_pkey PRIMARY KEY (kind, id, version),
    CONSTRAINT history_has_only_changes CHECK (old IS DISTINCT FROM new),
    CONSTRAINT history_kind_is_known CHECK (kind = ANY (ARRAY['advertiser'::text, 'campaign'::text, 'creative'::text, 'order'::text, 'placement'::text, 'publisher'::text, 'upstream'::text, 'webhook'::text]))
);
CREATE INDEX setup_history_changed_at_idx
    ON setup_history USING btree (changed_at);
-- Rejects every statement that is not a trigger's.
CREATE TRIGGER history_is_kept BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON setup_history
    FOR EACH STATEMENT EXECUTE FUNCTION keep_setup_history('INSERT');
ALTER TABLE setup_history ENABLE ALWAYS TRIGGER history_is_kept;
GRANT SELECT ON setup_history TO adserver_app;

-- Items that the running transaction has changed; its commit records and deletes them.
CREATE TABLE unrecorded_setup (
    kind text NOT NULL,                                        -- Kind of the item, as in setup_history
    id varchar COLLATE "C" NOT NULL,                           -- Id of the item
    CONSTRAINT unrecorded_setup_pkey PRIMARY KEY (kind, id),
    CONSTRAINT setup_is_recorded TRIGGER DEFERRABLE INITIALLY DEFERRED
);
-- Records what the transaction has changed when it commits.
CREATE CONSTRAINT TRIGGER setup_is_recorded AFTER INSERT ON unrecorded_setup DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION record_setup_changes();
ALTER TABLE unrecorded_setup ENABLE ALWAYS TRIGGER setup_is_recorded;
-- Rejects every statement that is not a trigger's.
CREATE TRIGGER history_is_kept BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON unrecorded_setup
    FOR EACH STATEMENT EXECUTE FUNCTION keep_setup_history('INSERT', 'DELETE');
ALTER TABLE unrecorded_setup ENABLE ALWAYS TRIGGER history_is_kept;


-- ====================================================================================================
-- The creatives of campaigns.

-- Linear video and audio ads of the campaigns themselves.
CREATE TABLE creatives (
    id varchar COLLATE "C" NOT NULL,                           -- Creative id
    campaign_id varchar COLLATE "C" NOT NULL,                  -- Campaign
    title text NOT NULL,                                       -- AdTitle
    duration_s numeric NOT NULL,                               -- Duration in seconds, exact to milliseconds
    media_files jsonb NOT NULL,                                -- MediaFiles: url, type, width, height, bitrate_kbps, ...
    vast_tag_url text,                                         -- VASTAdTagURI, for an ad that another server has; NULL for media files
    follow_additional_wrappers boolean,                        -- followAdditionalWrappers; NULL for its default
    fallback_on_no_ad boolean,                                 -- fallbackOnNoAd; NULL for its default
    click_through text,                                        -- URL that a click leads to
    skip_offset_s integer,                                     -- Seconds after which the ad can be skipped; NULL for never
    universal_ad_id text,                                      -- UniversalAdId; NULL for the creative's own id
    universal_ad_id_registry text NOT NULL,                    -- idRegistry of the UniversalAdId
    mezzanine_url text,                                        -- Mezzanine file for stitchers
    description text,                                          -- Description
    vast_elements jsonb NOT NULL DEFAULT '{}'::jsonb,          -- VAST elements besides the media files: impression_urls, tracking, ad_verifications, ...
    status text NOT NULL,                                      -- active, paused or archived; only an active creative is served
    starts_at timestamptz,                                     -- When it begins to be served; NULL for no limit
    ends_at timestamptz,                                       -- When it is not served any more; NULL for no limit
    weight integer NOT NULL,                                   -- Its share of the ads of its campaign, in comparison with the other weights
    sequence integer,                                          -- Position in a viewing session; NULL for after all that have one
    "position" text NOT NULL DEFAULT 'any'::text,              -- Position in a pod: first, last or any
    bumper boolean NOT NULL DEFAULT false,                     -- Whether it opens a pod, in front of other ads
    CONSTRAINT creatives_pkey PRIMARY KEY (id),
    CONSTRAINT creatives_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES campaigns(id),
    CONSTRAINT creative_ends_after_it_starts CHECK (ends_at > starts_at),
    CONSTRAINT creative_has_files_or_a_tag CHECK ((vast_tag_url IS NULL) = (media_files <> '[]'::jsonb)),
    CONSTRAINT creative_position_is_known CHECK ("position" = ANY (ARRAY['first'::text, 'last'::text, 'any'::text])),
    CONSTRAINT creative_status_is_known CHECK (status = ANY (ARRAY['active'::text, 'paused'::text, 'archived'::text])),
    CONSTRAINT duration_is_in_milliseconds CHECK (scale(trim_scale(duration_s)) <= 3),
    CONSTRAINT duration_is_positive CHECK (duration_s > 0::numeric),
    CONSTRAINT weight_is_positive CHECK (weight > 0)
);
CREATE INDEX creatives_campaign_id_idx
    ON creatives USING btree (campaign_id);
-- Notes the change of every creative.
CREATE TRIGGER creative_truncation_is_noted AFTER TRUNCATE ON creatives
    FOR EACH STATEMENT EXECUTE FUNCTION note_setup_change('creative');
ALTER TABLE creatives ENABLE ALWAYS TRIGGER creative_truncation_is_noted;
-- Notes the change of the creative.
CREATE TRIGGER creative_change_is_noted AFTER INSERT OR DELETE OR UPDATE ON creatives
    FOR EACH ROW EXECUTE FUNCTION note_setup_change('creative', 'id');
ALTER TABLE creatives ENABLE ALWAYS TRIGGER creative_change_is_noted;
GRANT INSERT, SELECT, UPDATE ON creatives TO adserver_app;


-- ====================================================================================================
-- The tables that serving and beacons write: caps, budgets, serves, holds, sessions, rate limits.

-- Viewing sessions.
CREATE TABLE sessions (
    id uuid NOT NULL,                                          -- Session id
    user_key uuid,                                             -- Keyed hash of the viewer's id; NULL if unknown
    publisher_id varchar COLLATE "C",                          -- Publisher
    correlator text NOT NULL,                                  -- Value of the macro [CORRELATOR], the same for all ads of the session
    played varchar[] COLLATE "C" NOT NULL DEFAULT '{}'::character varying[], -- Ids of the creatives that were served in it
    last_campaigns varchar[] COLLATE "C" NOT NULL DEFAULT '{}'::character varying[], -- Ids of the campaigns with categories that its last answer had ads of
    created_at timestamptz NOT NULL,                           -- When the session was created
    expires_at timestamptz NOT NULL,                           -- When the session expires
    ended_at timestamptz,                                      -- When the session was ended; NULL while it is open
    CONSTRAINT sessions_pkey PRIMARY KEY (id)
) WITH (fillfactor=80);
CREATE INDEX sessions_expires_at_idx
    ON sessions USING btree (expires_at);
GRANT DELETE, INSERT, SELECT, UPDATE ON sessions TO adserver_app;

-- The number of ads that each user was served of each campaign: one row for each window.
CREATE TABLE frequency_caps (
    user_key uuid NOT NULL,                                    -- Keyed hash of the viewer's id; in a session window, the session's id
    campaign_id varchar COLLATE "C" NOT NULL,                  -- Campaign, or another key: ' creative ', ' order ' or ' advertiser ' and an id
    "window" text NOT NULL,                                    -- minute, hour, day, week, month, lifetime, session, or a length such as 90 minutes
    window_start timestamptz NOT NULL,                         -- Start of the window; 1970 for lifetime and session
    count integer NOT NULL,                                    -- Number of ads counted in this window
    cap integer NOT NULL,                                      -- The cap that applied when the row was last counted
    expires_at timestamptz,                                    -- When maintenance may delete the row; NULL for never
    CONSTRAINT frequency_caps_pkey PRIMARY KEY (user_key, campaign_id, "window", window_start),
    CONSTRAINT count_within_cap CHECK (count >= 0 AND count <= cap)
) WITH (fillfactor=80, autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_insert_scale_factor=0.02);
GRANT DELETE, INSERT, SELECT, UPDATE ON frequency_caps TO adserver_app;

-- Every budget period of every campaign and order: limit, spent and held, in its owner's currency.
CREATE TABLE budget_tracking (
    budget_id varchar COLLATE "C" NOT NULL,                    -- The campaign's id, or ' order ' and the order's id, set by a trigger
    period text NOT NULL,                                      -- hour, day or lifetime
    period_start timestamptz NOT NULL,                         -- Start of the period; 1970 for lifetime
    campaign_id varchar COLLATE "C",                           -- Campaign; NULL for the budget of an order
    order_id varchar COLLATE "C",                              -- Order; NULL for the budget of a campaign
    "limit" numeric(18,6),                                     -- Amount that may be spent in this period, in the currency of its owner; NULL for no limit
    spent numeric(18,6) NOT NULL DEFAULT 0,                    -- Amount charged so far
    held numeric(18,6) NOT NULL DEFAULT 0,                     -- Amount held for ads that were served and not yet billed
    impressions bigint NOT NULL DEFAULT 0,                     -- Number of ads charged or held
    generation integer NOT NULL DEFAULT 0,                     -- Increases with about every thirtieth update
    impressions_limit bigint,                                  -- Number of ads that may be served in this period; NULL for no limit
    CONSTRAINT budget_tracking_pkey PRIMARY KEY (budget_id, period, period_start, generation),
    CONSTRAINT budget_tracking_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES campaigns(id),
    CONSTRAINT budget_tracking_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders(id),
    CONSTRAINT budget_period_has_one_owner CHECK ((campaign_id IS NULL) <> (order_id IS NULL)),
    CONSTRAINT impressions_within_budget CHECK (impressions <= impressions_limit),
    CONSTRAINT spend_is_not_negative CHECK (spent >= 0::numeric AND held >= 0::numeric AND impressions >= 0),
    CONSTRAINT spend_within_budget CHECK ((spent + held) <= "limit")
) WITH (fillfactor=10, autovacuum_vacuum_threshold=1000, autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_cost_delay=0);
CREATE INDEX budget_tracking_by_generation
    ON budget_tracking USING btree (((((budget_id)::text || '/'::text) || period)), GREATEST(period_start, to_timestamp((0)::double precision)), generation DESC);
-- Keeps the owner and the period of a row.
CREATE TRIGGER budget_period_is_kept AFTER UPDATE OF budget_id, campaign_id, order_id, period, period_start ON budget_tracking
    FOR EACH ROW EXECUTE FUNCTION keep_budget_period();
-- Lets the primary key reject a second row of the same period.
CREATE TRIGGER budget_period_has_one_row BEFORE INSERT ON budget_tracking
    FOR EACH ROW EXECUTE FUNCTION open_budget_period();
-- Records events in the transaction that reaches a threshold.
CREATE TRIGGER threshold_is_recorded AFTER UPDATE ON budget_tracking
    FOR EACH ROW WHEN ((new.spent + new.held) >= (0.8 * new."limit") AND ((old.spent + old.held) < (0.8 * old."limit") OR (new.spent + new.held) >= new."limit" AND (old.spent + old.held) < old."limit") OR (new.impressions * 5) >= (new.impressions_limit * 4) AND ((old.impressions * 5) < (old.impressions_limit * 4) OR new.impressions >= new.impressions_limit AND old.impressions < old.impressions_limit)) EXECUTE FUNCTION record_budget_threshold();
GRANT INSERT, SELECT, UPDATE ON budget_tracking TO adserver_app;
GRANT SELECT ON budget_tracking TO adserver_finance;

-- Every period that budget_tracking has a row for; the trigger budget_period_has_one_row locks its row here.
CREATE TABLE budget_periods (
    budget_id varchar COLLATE "C" NOT NULL,                    -- The campaign's id, or ' order ' and the order's id
    period text NOT NULL,                                      -- hour, day or lifetime
    period_start timestamptz NOT NULL,                         -- Start of the period
    CONSTRAINT budget_periods_pkey PRIMARY KEY (budget_id, period, period_start)
);
GRANT INSERT, SELECT, UPDATE ON budget_periods TO adserver_app;

-- One row for every ad served; append-only, partitioned by UTC day.
CREATE TABLE ad_serves (
    request_key uuid NOT NULL,                                 -- The request: its id if that is a UUID, otherwise a keyed hash of the id
    slot smallint NOT NULL,                                    -- Position in the pod; 0 for a single ad
    served_on date NOT NULL,                                   -- UTC day of served_at; the partition key
    served_at timestamptz NOT NULL,                            -- When the ad was served
    campaign_id varchar COLLATE "C" NOT NULL,                  -- Campaign
    creative_id varchar COLLATE "C",                           -- The campaign's own creative; NULL for an upstream's ad
    upstream_id varchar COLLATE "C",                           -- Upstream; NULL for a creative of the campaign
    placement_id varchar COLLATE "C",                          -- Placement; NULL if the request named the campaign
    publisher_id varchar COLLATE "C",                          -- Publisher of the placement
    user_key uuid,                                             -- Keyed hash of the viewer's id; NULL if unknown
    session_id uuid,                                           -- Viewing session
    country text,                                              -- Country of the viewer, an ISO 3166-1 alpha-2 code; NULL if unknown
    region text,                                               -- Region of the viewer, an ISO 3166-2 code; NULL if unknown
    device_type text,                                          -- Device type of the viewer; NULL if unknown
    price numeric(18,6) NOT NULL,                              -- Price of the ad
    currency varchar(3) NOT NULL,                              -- Currency of the price
    billing text NOT NULL,                                     -- Event that charges for the ad: serve, impression, click or complete
    fingerprint bigint NOT NULL,                               -- Hash of the request's parameters; the same request id with another is a conflict
    entry_id bigint,                                           -- Ledger entry of the charge; NULL if the ad is billed by a later event
    CONSTRAINT ad_serves_pkey PRIMARY KEY (request_key, slot, served_on)
) PARTITION BY RANGE (served_on);
CREATE TABLE ad_serves_default PARTITION OF ad_serves DEFAULT;
CREATE INDEX ad_serves_by_time
    ON ad_serves USING brin (served_at) WITH (pages_per_range='32', autosummarize='on');
GRANT INSERT, SELECT ON ad_serves TO adserver_app;

-- Upstream documents of requests that may be repeated; partitioned by UTC day.
CREATE TABLE served_documents (
    request_key uuid NOT NULL,                                 -- The request
    slot smallint NOT NULL,                                    -- Position in the pod
    served_on date NOT NULL,                                   -- UTC day of the serve; the partition key
    document bytea NOT NULL,                                   -- The upstream's VAST document, as received
    CONSTRAINT served_documents_pkey PRIMARY KEY (request_key, slot, served_on)
) PARTITION BY RANGE (served_on);
CREATE TABLE served_documents_default PARTITION OF served_documents DEFAULT;
GRANT INSERT, SELECT ON served_documents TO adserver_app;

-- Requests within a minute of midnight UTC; this key spans both days, the key of a partitioned table cannot.
CREATE TABLE midnight_requests (
    request_key uuid NOT NULL,                                 -- The request
    claimed_at timestamptz NOT NULL,                           -- When the request was claimed
    CONSTRAINT midnight_requests_pkey PRIMARY KEY (request_key)
);
GRANT DELETE, INSERT, SELECT, UPDATE ON midnight_requests TO adserver_app;

-- Open holds; the transaction that deletes the row settles or releases it, so that this happens once.
CREATE TABLE holds (
    request_key uuid NOT NULL,                                 -- Request of the serve
    slot smallint NOT NULL,                                    -- Slot of the serve
    served_on date NOT NULL,                                   -- UTC day of the serve
    booked_on date NOT NULL,                                   -- Day in the campaign's time zone to which it will be booked
    order_id varchar COLLATE "C",                              -- Order; NULL for none
    advertiser_id varchar COLLATE "C" NOT NULL,                -- Advertiser, who pays
    advertiser_name text NOT NULL,                             -- Name of the advertiser at the time of the serve
    campaign_id varchar COLLATE "C" NOT NULL,                  -- Campaign
    creative_id varchar COLLATE "C",                           -- The campaign's own creative; NULL for an upstream's ad
    upstream_id varchar COLLATE "C",                           -- Upstream; NULL for a creative of the campaign
    publisher_id varchar COLLATE "C",                          -- Publisher of the placement
    publisher_name text,                                       -- Name of the publisher at the time of the serve
    placement_id varchar COLLATE "C",                          -- Placement; NULL if the request named the campaign
    price numeric(18,6) NOT NULL,                              -- Amount held
    publisher_amount numeric(18,6) NOT NULL,                   -- The publisher's part of the price
    currency varchar(3) NOT NULL,                              -- Currency of the price
    billing text NOT NULL,                                     -- Event that settles the hold: impression, click or complete
    hour_start timestamptz NOT NULL,                           -- Start of the budget hour in which it is held
    day_start timestamptz NOT NULL,                            -- Start of the budget day in which it is held
    expires_at timestamptz NOT NULL,                           -- When maintenance releases the hold
    CONSTRAINT holds_pkey PRIMARY KEY (request_key, slot, served_on),
    CONSTRAINT hold_is_not_negative CHECK (price >= 0::numeric)
) WITH (autovacuum_vacuum_threshold=1000, autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_cost_delay=0);
CREATE INDEX holds_expires_at_idx
    ON holds USING btree (expires_at);
GRANT DELETE, INSERT, SELECT, UPDATE ON holds TO adserver_app;

-- Holds that were released; the event that was sold may come later and still be charged.
CREATE TABLE hold_releases (
    request_key uuid NOT NULL,                                 -- Request of the serve
    slot smallint NOT NULL,                                    -- Slot of the serve
    served_on date NOT NULL,                                   -- UTC day of the serve; the partition key
    booked_on date NOT NULL,                                   -- Day in the campaign's time zone to which it will be booked
    order_id varchar COLLATE "C",                              -- Order; NULL for none
    advertiser_id varchar COLLATE "C" NOT NULL,                -- Advertiser, who pays
    advertiser_name text NOT NULL,                             -- Name of the advertiser at the time of the serve
    campaign_id varchar COLLATE "C" NOT NULL,                  -- Campaign
    creative_id varchar COLLATE "C",                           -- The campaign's own creative; NULL for an upstream's ad
    upstream_id varchar COLLATE "C",                           -- Upstream; NULL for a creative of the campaign
    publisher_id varchar COLLATE "C",                          -- Publisher of the placement
    publisher_name text,                                       -- Name of the publisher at the time of the serve
    placement_id varchar COLLATE "C",                          -- Placement; NULL if the request named the campaign
    price numeric(18,6) NOT NULL,                              -- Amount that was held
    publisher_amount numeric(18,6) NOT NULL,                   -- The publisher's part of the price
    currency varchar(3) NOT NULL,                              -- Currency of the price
    billing text NOT NULL,                                     -- Event that would have settled the hold: impression, click or complete
    released_at timestamptz NOT NULL,                          -- When the hold was released
    cause text NOT NULL,                                       -- error: the player reported that the ad failed; expiry: the event that was sold did not come in time
    entry_id bigint,                                           -- Ledger entry of a late event that was charged; NULL for none
    CONSTRAINT hold_releases_pkey PRIMARY KEY (request_key, slot, served_on),
    CONSTRAINT release_cause_is_known CHECK (cause = ANY (ARRAY['error'::text, 'expiry'::text]))
) PARTITION BY RANGE (served_on);
CREATE TABLE hold_releases_default PARTITION OF hold_releases DEFAULT;
CREATE INDEX hold_releases_by_time
    ON hold_releases USING brin (released_at) WITH (pages_per_range='32', autosummarize='on');
GRANT INSERT, SELECT, UPDATE ON hold_releases TO adserver_app;

-- One row for each event of a serve, no matter how often its beacon is sent; partitioned by UTC day.
CREATE TABLE ad_events (
    request_key uuid NOT NULL,                                 -- Request of the serve
    slot smallint NOT NULL,                                    -- Slot of the serve
    served_on date NOT NULL,                                   -- UTC day of the serve; the partition key
    event text NOT NULL,                                       -- impression, start, firstQuartile, ...
    campaign_id varchar COLLATE "C" NOT NULL,                  -- Campaign
    received_at timestamptz NOT NULL DEFAULT now(),            -- When the first beacon of this event arrived
    error_code smallint,                                       -- VAST error code of an error beacon
    entry_id bigint,                                           -- Ledger entry of the hold that the event settled; NULL for none
    CONSTRAINT ad_events_pkey PRIMARY KEY (request_key, slot, served_on, event)
) PARTITION BY RANGE (served_on);
CREATE TABLE ad_events_default PARTITION OF ad_events DEFAULT;
CREATE INDEX ad_events_by_time
    ON ad_events USING brin (received_at) WITH (pages_per_range='32', autosummarize='on');
GRANT INSERT, SELECT ON ad_events TO adserver_app;

-- Rate limits of all servers together: token buckets that servers lease parts of.
CREATE TABLE quotas (
    name varchar COLLATE "C" NOT NULL,                         -- upstream:ID or publisher:ID
    tokens numeric(18,6) NOT NULL,                             -- Tokens left in the bucket
    refilled_at timestamptz NOT NULL,                          -- Moment up to which the bucket was refilled
    CONSTRAINT quotas_pkey PRIMARY KEY (name)
) WITH (fillfactor=20);
GRANT DELETE, INSERT, SELECT, UPDATE ON quotas TO adserver_app;

-- Ad requests by outcome; each server adds its counts every few seconds: a statistic, not part of the books.
CREATE TABLE requests_daily (
    requested_on date NOT NULL,                                -- UTC day
    outcome text NOT NULL,                                     -- served, repeat, error, or the reason why there was no ad
    requests bigint NOT NULL,                                  -- Number of requests
    CONSTRAINT requests_daily_pkey PRIMARY KEY (requested_on, outcome)
);
GRANT INSERT, SELECT, UPDATE ON requests_daily TO adserver_app;


-- ====================================================================================================
-- Hourly statistics of delivery, which are made from serves, beacons and the ledger.

-- Hourly sums of what happened before delivery_state.rolled_up_to; kept as long as serves are.
CREATE TABLE delivery_hourly (
    hour timestamptz NOT NULL,                                 -- Start of the UTC hour
    campaign_id varchar COLLATE "C" NOT NULL,                  -- Campaign
    creative_id varchar COLLATE "C",                           -- The campaign's own creative; NULL for an upstream's ad
    placement_id varchar COLLATE "C",                          -- Placement; NULL if the request named the campaign
    publisher_id varchar COLLATE "C",                          -- Publisher of the placement
    country text,                                              -- Country of the viewer; NULL if unknown
    device_type text,                                          -- Device type of the viewer; NULL if unknown
    serves bigint NOT NULL,                                    -- Number of ads served
    seen bigint NOT NULL,                                      -- Number of ads whose impression was reported
    first_quartile bigint NOT NULL,                            -- Number of ads of which the first quarter was played
    midpoint bigint NOT NULL,                                  -- Number of ads of which half was played
    third_quartile bigint NOT NULL,                            -- Number of ads of which three quarters were played
    completed bigint NOT NULL,                                 -- Number of ads that were played to the end
    clicks bigint NOT NULL,                                    -- Number of ads that were clicked
    errors bigint NOT NULL,                                    -- Number of ads that the player reported as failed
    late bigint NOT NULL,                                      -- Number of impressions, part of seen, whose hold had been released
    expired bigint NOT NULL,                                   -- Number of holds that were released because no impression came in time
    reversed bigint NOT NULL,                                  -- Number of ads whose charge was taken back
    charged numeric(18,6) NOT NULL,                            -- Amount charged for ads, of the ledger entries that were booked in the hour
    corrected numeric(18,6) NOT NULL,                          -- Amount of adjustments and reversals that were booked in the hour
    CONSTRAINT one_row_for_each_hour UNIQUE NULLS NOT DISTINCT (hour, campaign_id, creative_id, placement_id, publisher_id, country, device_type)
);
GRANT DELETE, INSERT, SELECT, UPDATE ON delivery_hourly TO adserver_app;

-- The moment up to which delivery is summed up in delivery_hourly; never later than that of the books.
CREATE TABLE delivery_state (
    only_row integer NOT NULL DEFAULT 1,                       -- Always 1
    rolled_up_to timestamptz NOT NULL DEFAULT '-infinity'::timestamp with time zone, -- delivery_hourly includes everything that happened before this moment and nothing later
    CONSTRAINT delivery_state_pkey PRIMARY KEY (only_row),
    CONSTRAINT delivery_state_has_one_row CHECK (only_row = 1)
);
GRANT SELECT, UPDATE ON delivery_state TO adserver_app;

-- Ad requests; each server adds its counts every few seconds: a statistic, kept as long as serves are.
CREATE TABLE requests_hourly (
    hour timestamptz NOT NULL,                                 -- Start of the UTC hour
    placement_id varchar COLLATE "C",                          -- Placement; NULL if the request named a campaign
    publisher_id varchar COLLATE "C",                          -- Publisher of the placement
    country text,                                              -- Country of the viewer; NULL if unknown
    device_type text,                                          -- Device type of the viewer; NULL if unknown
    requests bigint NOT NULL,                                  -- Number of ad requests
    CONSTRAINT one_number_for_each_hour UNIQUE NULLS NOT DISTINCT (hour, placement_id, publisher_id, country, device_type)
);
GRANT DELETE, INSERT, SELECT, UPDATE ON requests_hourly TO adserver_app;


-- ====================================================================================================
-- The tables of the books: the ledger, its daily sums, closed months; and the records of maintenance.

-- Every amount ever charged; append-only, partitioned by month.
CREATE TABLE spend_ledger (
    entry_id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,     -- Number of the entry
    booked_at timestamptz NOT NULL,                            -- When it was booked
    booked_on date NOT NULL,                                   -- Day in the campaign's time zone; the table is partitioned by its month
    late_from date,                                            -- Day to which it belongs, if it was booked to a later one
    kind text NOT NULL,                                        -- charge, settle, flat, adjustment or reversal
    order_id varchar COLLATE "C",                              -- Order; NULL for none
    advertiser_id varchar COLLATE "C" NOT NULL,                -- Advertiser, who pays
    advertiser_name text NOT NULL,                             -- Name of the advertiser when it was booked
    campaign_id varchar COLLATE "C" NOT NULL,                  -- Campaign
    creative_id varchar COLLATE "C",                           -- The campaign's own creative; NULL for an upstream's ad
    upstream_id varchar COLLATE "C",                           -- Upstream; NULL for a creative of the campaign
    publisher_id varchar COLLATE "C",                          -- Publisher of the placement
    publisher_name text,                                       -- Name of the publisher when it was booked
    placement_id varchar COLLATE "C",                          -- Placement; NULL if the request named the campaign, and for an adjustment
    request_key uuid,                                          -- Request of the serve; NULL for an adjustment
    slot smallint,                                             -- Slot of the serve; NULL for an adjustment
    amount numeric(18,6) NOT NULL,                             -- Amount added to what is spent; may be negative in a correction
    publisher_amount numeric(18,6) NOT NULL,                   -- The publisher's part of the amount
    house_amount numeric(18,6) NOT NULL,                       -- The rest of the amount, which the house keeps
    currency varchar(3) NOT NULL,                              -- Currency of the amount
    hour_start timestamptz NOT NULL,                           -- Start of the budget hour in which it counts
    day_start timestamptz NOT NULL,                            -- Start of the budget day, in the campaign's time zone, in which it counts
    reason text,                                               -- Reason of a manual entry
    CONSTRAINT spend_ledger_pkey PRIMARY KEY (entry_id, booked_on),
    CONSTRAINT amount_is_split CHECK (amount = (publisher_amount + house_amount)),
    CONSTRAINT ledger_kind_is_known CHECK (kind = ANY (ARRAY['charge'::text, 'settle'::text, 'flat'::text, 'adjustment'::text, 'reversal'::text])),
    CONSTRAINT only_corrections_are_manual CHECK ((kind = ANY (ARRAY['adjustment'::text, 'reversal'::text])) OR amount >= 0::numeric AND (request_key IS NULL) = (kind = 'flat'::text))
) PARTITION BY RANGE (booked_on);
CREATE TABLE spend_ledger_default PARTITION OF spend_ledger DEFAULT;
CREATE INDEX spend_ledger_by_time
    ON spend_ledger USING brin (booked_at, booked_on) WITH (pages_per_range='32', autosummarize='on');
-- Keeps entries as they were booked.
CREATE TRIGGER entries_are_kept BEFORE DELETE OR UPDATE ON spend_ledger
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
ALTER TABLE spend_ledger ENABLE ALWAYS TRIGGER entries_are_kept;
-- Keeps the ledger from being truncated.
CREATE TRIGGER entries_are_not_truncated BEFORE TRUNCATE ON spend_ledger
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE spend_ledger ENABLE ALWAYS TRIGGER entries_are_not_truncated;
-- Keeps the ledger from being truncated.
CREATE TRIGGER entries_are_not_truncated BEFORE TRUNCATE ON spend_ledger_default
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE spend_ledger_default ENABLE ALWAYS TRIGGER entries_are_not_truncated;
-- Rejects entries of closed months, which would otherwise land in the default partition.
CREATE TRIGGER month_is_closed BEFORE INSERT ON spend_ledger_default
    FOR EACH ROW EXECUTE FUNCTION refuse_closed_month('booked_on');
ALTER TABLE spend_ledger_default ENABLE ALWAYS TRIGGER month_is_closed;
-- Requires that an entry that leaves the default partition is in the ledger at commit.
CREATE CONSTRAINT TRIGGER entries_are_moved AFTER DELETE ON spend_ledger_default DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION keep_moved_entry();
ALTER TABLE spend_ledger_default ENABLE ALWAYS TRIGGER entries_are_moved;
GRANT INSERT, SELECT ON spend_ledger TO adserver_app;
GRANT SELECT ON spend_ledger TO adserver_finance;

-- Manual entries of the ledger; the key of each ensures that it is booked once.
CREATE TABLE ledger_corrections (
    idempotency_key varchar COLLATE "C" NOT NULL,              -- Chosen by the caller; repeating it books nothing more
    kind text NOT NULL,                                        -- adjustment or reversal
    campaign_id varchar COLLATE "C" NOT NULL,                  -- Campaign
    amount numeric(18,6) NOT NULL,                             -- Amount added to what is spent
    currency varchar(3) NOT NULL,                              -- Currency of the amount
    reason text NOT NULL,                                      -- Reason of the correction
    reverses bigint,                                           -- The entry that a reversal takes back
    reverses_booked_on date,                                   -- Day of that entry
    entry_id bigint NOT NULL,                                  -- The entry that was booked
    booked_on date NOT NULL,                                   -- Day of the entry
    recorded_at timestamptz NOT NULL,                          -- When the correction was made
    recorded_by text NOT NULL,                                 -- Database role that made the correction
    set_entry bigint,                                          -- In a set of corrections, the same as `reverses`; otherwise NULL
    CONSTRAINT ledger_corrections_pkey PRIMARY KEY (entry_id),
    CONSTRAINT a_key_books_once UNIQUE NULLS NOT DISTINCT (idempotency_key, set_entry),
    CONSTRAINT an_entry_is_reversed_once UNIQUE (reverses),
    CONSTRAINT reversal_is_in_its_set FOREIGN KEY (idempotency_key, set_entry) REFERENCES correction_set_entries(idempotency_key, entry_id),
    CONSTRAINT a_set_reverses_its_entries CHECK (set_entry IS NULL OR NOT set_entry IS DISTINCT FROM reverses),
    CONSTRAINT correction_kind_is_known CHECK (kind = ANY (ARRAY['adjustment'::text, 'reversal'::text])),
    CONSTRAINT only_a_reversal_names_what_it_reverses CHECK (num_nonnulls(reverses, reverses_booked_on) =
CASE kind
    WHEN 'reversal'::text THEN 2
    ELSE 0
END)
);
-- Keeps corrections as they were recorded.
CREATE TRIGGER corrections_are_kept BEFORE DELETE OR UPDATE ON ledger_corrections
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
ALTER TABLE ledger_corrections ENABLE ALWAYS TRIGGER corrections_are_kept;
-- Keeps corrections from being truncated.
CREATE TRIGGER corrections_are_not_truncated BEFORE TRUNCATE ON ledger_corrections
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE ledger_corrections ENABLE ALWAYS TRIGGER corrections_are_not_truncated;
-- Records the session's own role as the author.
CREATE TRIGGER author_is_stamped BEFORE INSERT ON ledger_corrections
    FOR EACH ROW EXECUTE FUNCTION stamp_author();
ALTER TABLE ledger_corrections ENABLE ALWAYS TRIGGER author_is_stamped;
-- Rejects corrections of closed months.
CREATE TRIGGER month_is_closed BEFORE INSERT ON ledger_corrections
    FOR EACH ROW EXECUTE FUNCTION refuse_closed_month('booked_on');
ALTER TABLE ledger_corrections ENABLE ALWAYS TRIGGER month_is_closed;
GRANT INSERT, SELECT ON ledger_corrections TO adserver_app;

-- Money that advertisers paid for prepaid orders; append-only.
CREATE TABLE order_credits (
    idempotency_key varchar COLLATE "C" NOT NULL,              -- Chosen by the caller; repeating it credits nothing more
    order_id varchar COLLATE "C" NOT NULL,                     -- Prepaid order
    amount numeric(18,6) NOT NULL,                             -- Amount that may be spent in addition; negative to take money back
    reason text NOT NULL,                                      -- Reason, such as the number of the payment
    recorded_at timestamptz NOT NULL,                          -- When the credit was recorded
    recorded_by text NOT NULL,                                 -- Database role that recorded the credit
    CONSTRAINT order_credits_pkey PRIMARY KEY (idempotency_key),
    CONSTRAINT credit_is_not_zero CHECK (amount <> 0::numeric)
);
-- Keeps credits as they were recorded.
CREATE TRIGGER credits_are_kept BEFORE DELETE OR UPDATE ON order_credits
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
ALTER TABLE order_credits ENABLE ALWAYS TRIGGER credits_are_kept;
-- Keeps credits from being truncated.
CREATE TRIGGER credits_are_not_truncated BEFORE TRUNCATE ON order_credits
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE order_credits ENABLE ALWAYS TRIGGER credits_are_not_truncated;
-- Records the session's own role as the author.
CREATE TRIGGER author_is_stamped BEFORE INSERT ON order_credits
    FOR EACH ROW EXECUTE FUNCTION stamp_author();
ALTER TABLE order_credits ENABLE ALWAYS TRIGGER author_is_stamped;
GRANT INSERT, SELECT ON order_credits TO adserver_app;

-- Money that was paid to publishers; append-only.
CREATE TABLE payouts (
    idempotency_key varchar COLLATE "C" NOT NULL,              -- Chosen by the caller; repeating it records nothing more
    publisher_id varchar COLLATE "C" NOT NULL,                 -- Publisher that was paid
    publisher_name text NOT NULL,                              -- Name of the publisher when it was recorded
    currency varchar(3) NOT NULL,                              -- Currency of the amount
    amount numeric(18,6) NOT NULL,                             -- Amount that was paid; negative if the publisher paid it back
    recorded_at timestamptz NOT NULL,                          -- When the payout was recorded
    recorded_by text NOT NULL,                                 -- Database role that recorded the payout
    CONSTRAINT payouts_pkey PRIMARY KEY (idempotency_key),
    CONSTRAINT payouts_publisher_id_fkey FOREIGN KEY (publisher_id) REFERENCES publishers(id),
    CONSTRAINT payout_currency_is_a_code CHECK (currency::text ~ '^[A-Z]{3}$'::text),
    CONSTRAINT payout_is_not_zero CHECK (amount <> 0::numeric)
);
-- Keeps payouts as they were recorded.
CREATE TRIGGER payouts_are_kept BEFORE DELETE OR UPDATE ON payouts
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
ALTER TABLE payouts ENABLE ALWAYS TRIGGER payouts_are_kept;
-- Keeps payouts from being truncated.
CREATE TRIGGER payouts_are_not_truncated BEFORE TRUNCATE ON payouts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE payouts ENABLE ALWAYS TRIGGER payouts_are_not_truncated;
-- Records the role of the session as the author.
CREATE TRIGGER author_is_stamped BEFORE INSERT ON payouts
    FOR EACH ROW EXECUTE FUNCTION stamp_author();
ALTER TABLE payouts ENABLE ALWAYS TRIGGER author_is_stamped;
GRANT INSERT, SELECT ON payouts TO adserver_app;

-- Months that accept no more entries, and the hashes that prove what their entries were.
CREATE TABLE closed_months (
    month date NOT NULL,                                       -- First day of the month
    closed_at timestamptz NOT NULL,                            -- When the month was closed
    closed_by text NOT NULL,                                   -- Database role that closed the month
    entries bigint NOT NULL,                                   -- Number of entries in the month
    previous_hash bytea NOT NULL,                              -- Hash of the month closed before this one
    hash bytea NOT NULL,                                       -- SHA-256, chained over the entries; docs/finance.md describes it
    CONSTRAINT closed_months_pkey PRIMARY KEY (month)
);
-- Keeps closed months as they were recorded.
CREATE TRIGGER closings_are_kept BEFORE DELETE OR UPDATE ON closed_months
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
ALTER TABLE closed_months ENABLE ALWAYS TRIGGER closings_are_kept;
-- Keeps closed months from being truncated.
CREATE TRIGGER closings_are_not_truncated BEFORE TRUNCATE ON closed_months
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE closed_months ENABLE ALWAYS TRIGGER closings_are_not_truncated;
-- Records the session's own role as the one that closed the month.
CREATE TRIGGER author_is_stamped BEFORE INSERT ON closed_months
    FOR EACH ROW EXECUTE FUNCTION stamp_closing();
ALTER TABLE closed_months ENABLE ALWAYS TRIGGER author_is_stamped;
GRANT SELECT ON closed_months TO adserver_app;

-- What each closed month came to, as kept with its closing; append-only.
CREATE TABLE month_ends (
    month date NOT NULL,                                       -- First day of the month
    advertiser_id varchar COLLATE "C" NOT NULL,                -- Advertiser, who pays
    advertiser_name text NOT NULL,                             -- Name of the advertiser at its last entry or hold of the month
    order_id varchar COLLATE "C",                              -- Order; NULL for none
    publisher_id varchar COLLATE "C",                          -- Publisher of the placement
    publisher_name text,                                       -- Name of the publisher at its last entry or hold of the month
    currency varchar(3) NOT NULL,                              -- Currency of the amounts
    charged numeric(18,6) NOT NULL,                            -- Charged for ads: entries of the month of the kinds charge, settle and flat
    corrected numeric(18,6) NOT NULL,                          -- Entries of the month of the kinds adjustment and reversal
    publisher_amount numeric(18,6) NOT NULL,                   -- The publisher's part of charged and corrected
    released numeric(18,6) NOT NULL,                           -- Held for ads of the month and given back by the time of closing; what was charged late is not in it
    held numeric(18,6) NOT NULL,                               -- Part of charged and released, and of what is still open, that was held when the month ended: neither seen nor released
    publisher_held numeric(18,6) NOT NULL,                     -- The publisher's part of held
    CONSTRAINT one_row_for_each_party UNIQUE NULLS NOT DISTINCT (month, advertiser_id, order_id, publisher_id, currency)
);
-- Keeps figures as they were when the month was closed.
CREATE TRIGGER figures_are_kept BEFORE DELETE OR UPDATE ON month_ends
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
ALTER TABLE month_ends ENABLE ALWAYS TRIGGER figures_are_kept;
-- Keeps figures from being truncated.
CREATE TRIGGER figures_are_not_truncated BEFORE TRUNCATE ON month_ends
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE month_ends ENABLE ALWAYS TRIGGER figures_are_not_truncated;
-- Rejects figures of a month that is closed already.
CREATE TRIGGER month_is_closed BEFORE INSERT ON month_ends
    FOR EACH ROW EXECUTE FUNCTION refuse_closed_month('month');
ALTER TABLE month_ends ENABLE ALWAYS TRIGGER month_is_closed;
GRANT SELECT ON month_ends TO adserver_app;

-- Every row of the books that was changed by a repair; written by triggers, never changed.
CREATE TABLE book_repairs (
    repair_id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,    -- Number of the repair
    repaired_at timestamptz NOT NULL,                          -- When the row was changed
    repaired_by text NOT NULL,                                 -- Database role that changed it
    reason text NOT NULL,                                      -- Reason given in adserver.repair
    table_name text NOT NULL,                                  -- Table, or partition of the ledger
    operation text NOT NULL,                                   -- INSERT, UPDATE or DELETE
    old_row jsonb,                                             -- The row before; NULL for an INSERT
    new_row jsonb,                                             -- The row after; NULL for a DELETE
    CONSTRAINT book_repairs_pkey PRIMARY KEY (repair_id)
);
-- Keeps the record of repairs from being truncated.
CREATE TRIGGER repairs_are_not_truncated BEFORE TRUNCATE ON book_repairs
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('always');
ALTER TABLE book_repairs ENABLE ALWAYS TRIGGER repairs_are_not_truncated;
-- Keeps the record of repairs, which nobody can repair.
CREATE TRIGGER repairs_are_kept BEFORE DELETE OR UPDATE ON book_repairs
    FOR EACH ROW EXECUTE FUNCTION refuse_change('always');
ALTER TABLE book_repairs ENABLE ALWAYS TRIGGER repairs_are_kept;
GRANT SELECT ON book_repairs TO adserver_app;

-- Daily sums of the ledger entries that were booked before books_state.rolled_up_to.
CREATE TABLE spend_daily (
    booked_on date NOT NULL,                                   -- Day in the campaign's time zone
    recorded_on date NOT NULL,                                 -- UTC day of booked_at
    order_id varchar COLLATE "C",                              -- Order; NULL for none
    advertiser_id varchar COLLATE "C" NOT NULL,                -- Advertiser, who pays
    advertiser_name text NOT NULL,                             -- Name of the advertiser when it was booked
    campaign_id varchar COLLATE "C" NOT NULL,                  -- Campaign
    publisher_id varchar COLLATE "C",                          -- Publisher of the placement
    publisher_name text,                                       -- Name of the publisher when it was booked
    currency varchar(3) NOT NULL,                              -- Currency of the amounts
    kind text NOT NULL,                                        -- charge, settle, flat, adjustment or reversal
    amount numeric(18,6) NOT NULL,                             -- Sum of the entries
    publisher_amount numeric(18,6) NOT NULL,                   -- Sum of the publisher's parts
    entries bigint NOT NULL,                                   -- Number of entries
    ads bigint NOT NULL,                                       -- Number of entries that charge an ad or take its charge back
    CONSTRAINT one_sum_for_each_day UNIQUE NULLS NOT DISTINCT (booked_on, campaign_id, kind, recorded_on, order_id, advertiser_id, advertiser_name, publisher_id, publisher_name, currency)
);
GRANT INSERT, SELECT, UPDATE ON spend_daily TO adserver_app;

-- The moment up to which the ledger is summed up in spend_daily.
CREATE TABLE books_state (
    only_row integer NOT NULL DEFAULT 1,                       -- Always 1
    rolled_up_to timestamptz NOT NULL DEFAULT '-infinity'::timestamp with time zone, -- spend_daily includes every entry booked before this moment and no later one
    CONSTRAINT books_state_pkey PRIMARY KEY (only_row),
    CONSTRAINT books_state_has_one_row CHECK (only_row = 1)
);
GRANT SELECT, UPDATE ON books_state TO adserver_app;

-- The partitions that maintenance has dropped, so that reconciliation does not miss their rows.
CREATE TABLE retention (
    parent text NOT NULL,                                      -- Partitioned table
    dropped_before date NOT NULL,                              -- Partitions of earlier days have been dropped
    CONSTRAINT retention_pkey PRIMARY KEY (parent)
);
GRANT SELECT ON retention TO adserver_app;

-- When each maintenance task was last begun by any server.
CREATE TABLE maintenance (
    task text NOT NULL,                                        -- Name of the task
    begun_at timestamptz NOT NULL,                             -- When a server last began it; the others wait until it is due again
    CONSTRAINT maintenance_pkey PRIMARY KEY (task)
);
GRANT INSERT, SELECT, UPDATE ON maintenance TO adserver_app;

-- The days of flat prices that were booked; append-only, so that each is booked once.
CREATE TABLE flat_days (
    campaign_id varchar COLLATE "C" NOT NULL,                  -- Campaign with a flat price
    day date NOT NULL,                                         -- Day in the campaign's time zone
    part numeric(18,6) NOT NULL,                               -- The day's part of the flat price
    amount numeric(18,6) NOT NULL,                             -- Amount booked: the part, or 0 if the campaign was active at no time of the day
    booked_on date NOT NULL,                                   -- Day to which it was booked
    booked_at timestamptz NOT NULL,                            -- When it was booked
    CONSTRAINT flat_days_pkey PRIMARY KEY (campaign_id, day),
    CONSTRAINT flat_days_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES campaigns(id),
    CONSTRAINT flat_day_is_booked_whole CHECK (part >= 0::numeric AND (amount = 0::numeric OR amount = part))
);
GRANT INSERT, SELECT ON flat_days TO adserver_app;


-- ====================================================================================================
-- The tables of sets of corrections, which reverse many entries under one key.

-- Sets of entries that are reversed under one key; append-only.
CREATE TABLE correction_sets (
    idempotency_key varchar COLLATE "C" NOT NULL,              -- Chosen by the caller; repeating it completes the set
    selection text NOT NULL,                                   -- How the entries were selected: by conditions, or by a list with this SHA-256
    entries integer NOT NULL,                                  -- Number of entries in the set
    reason text NOT NULL,                                      -- Reason of the reversals
    recorded_at timestamptz NOT NULL,                          -- When the set was recorded
    recorded_by text NOT NULL,                                 -- Database role that recorded the set
    CONSTRAINT correction_sets_pkey PRIMARY KEY (idempotency_key),
    CONSTRAINT set_has_entries CHECK (entries > 0)
);
-- Keeps sets as they were recorded.
CREATE TRIGGER sets_are_kept BEFORE DELETE OR UPDATE ON correction_sets
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
ALTER TABLE correction_sets ENABLE ALWAYS TRIGGER sets_are_kept;
-- Keeps sets from being truncated.
CREATE TRIGGER sets_are_not_truncated BEFORE TRUNCATE ON correction_sets
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE correction_sets ENABLE ALWAYS TRIGGER sets_are_not_truncated;
-- Records the role of the session as the author.
CREATE TRIGGER author_is_stamped BEFORE INSERT ON correction_sets
    FOR EACH ROW EXECUTE FUNCTION stamp_author();
ALTER TABLE correction_sets ENABLE ALWAYS TRIGGER author_is_stamped;
GRANT INSERT, SELECT ON correction_sets TO adserver_app;

-- The entries of each set of corrections; append-only.
CREATE TABLE correction_set_entries (
    idempotency_key varchar COLLATE "C" NOT NULL,              -- Set
    "position" integer NOT NULL,                               -- Position in the set, from 1: the entries of a campaign follow one another
    entry_id bigint NOT NULL,                                  -- Entry to reverse
    booked_on date NOT NULL,                                   -- Day of that entry
    campaign_id varchar COLLATE "C" NOT NULL,                  -- Campaign of that entry
    CONSTRAINT correction_set_entries_pkey PRIMARY KEY (idempotency_key, "position"),
    CONSTRAINT an_entry_is_in_a_set_once UNIQUE (idempotency_key, entry_id),
    CONSTRAINT correction_set_entries_idempotency_key_fkey FOREIGN KEY (idempotency_key) REFERENCES correction_sets(idempotency_key)
);
-- Keeps the entries of sets as they were recorded.
CREATE TRIGGER sets_are_kept BEFORE DELETE OR UPDATE ON correction_set_entries
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
ALTER TABLE correction_set_entries ENABLE ALWAYS TRIGGER sets_are_kept;
-- Keeps the entries of sets from being truncated.
CREATE TRIGGER sets_are_not_truncated BEFORE TRUNCATE ON correction_set_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE correction_set_entries ENABLE ALWAYS TRIGGER sets_are_not_truncated;
GRANT INSERT, SELECT ON correction_set_entries TO adserver_app;


-- ====================================================================================================
-- The tables of what third parties counted, to be compared with our own impressions.

-- Impressions that third parties counted, every version of each count; append-only.
CREATE TABLE third_party_counts (
    source varchar COLLATE "C" NOT NULL,                       -- Who counted
    day date NOT NULL,                                         -- Day in the campaign's time zone
    campaign_id varchar COLLATE "C" NOT NULL,                  -- Campaign
    version integer NOT NULL,                                  -- Number of the count of this source, day and campaign, from 1; the highest counts
    impressions bigint NOT NULL,                               -- Number of impressions that the source counted
    recorded_at timestamptz NOT NULL,                          -- When the count was imported
    recorded_by text NOT NULL,                                 -- Database role that imported the count
    CONSTRAINT third_party_counts_pkey PRIMARY KEY (source, day, campaign_id, version),
    CONSTRAINT third_party_counts_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES campaigns(id),
    CONSTRAINT count_is_not_negative CHECK (impressions >= 0 AND version > 0)
);
-- Keeps counts as they were imported.
CREATE TRIGGER counts_are_kept BEFORE DELETE OR UPDATE ON third_party_counts
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
ALTER TABLE third_party_counts ENABLE ALWAYS TRIGGER counts_are_kept;
-- Keeps counts from being truncated.
CREATE TRIGGER counts_are_not_truncated BEFORE TRUNCATE ON third_party_counts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE third_party_counts ENABLE ALWAYS TRIGGER counts_are_not_truncated;
-- Records the role of the session as the author.
CREATE TRIGGER author_is_stamped BEFORE INSERT ON third_party_counts
    FOR EACH ROW EXECUTE FUNCTION stamp_author();
ALTER TABLE third_party_counts ENABLE ALWAYS TRIGGER author_is_stamped;
GRANT INSERT, SELECT ON third_party_counts TO adserver_app;

-- Repeated impressions by day and campaign: a statistic, not part of the books.
CREATE TABLE repeated_impressions (
    day date NOT NULL,                                         -- Day in the campaign's time zone
    campaign_id varchar COLLATE "C" NOT NULL,                  -- Campaign
    impressions bigint NOT NULL,                               -- Number of impressions that were reported again, and not counted again
    CONSTRAINT repeated_impressions_pkey PRIMARY KEY (day, campaign_id)
);
GRANT INSERT, SELECT, UPDATE ON repeated_impressions TO adserver_app;


-- ====================================================================================================
-- Tables of what was archived: budget periods that ended long ago, and months of the ledger.

-- Budget periods that ended long ago, which maintenance moves here from budget_tracking.
CREATE TABLE budget_archive (
    campaign_id varchar COLLATE "C" NOT NULL,                  -- Campaign
    period text NOT NULL,                                      -- hour or day
    period_start timestamptz NOT NULL,                         -- Start of the period
    "limit" numeric(18,6),                                     -- Amount that could be spent in the period; NULL for no limit
    impressions_limit bigint,                                  -- Number of ads that could be served in the period; NULL for no limit
    spent numeric(18,6) NOT NULL,                              -- Amount charged
    impressions bigint NOT NULL,                               -- Number of ads charged
    CONSTRAINT budget_archive_pkey PRIMARY KEY (campaign_id, period, period_start),
    CONSTRAINT archived_spend_within_budget CHECK (spent >= 0::numeric AND impressions >= 0 AND (spent <= "limit" AND impressions <= impressions_limit) IS NOT FALSE)
);
GRANT SELECT ON budget_archive TO adserver_app;

-- Closed months whose entries are in an archive outside of the database.
CREATE TABLE archived_months (
    month date NOT NULL,                                       -- First day of the month
    archived_at timestamptz NOT NULL,                          -- When the month was archived
    archived_by text NOT NULL,                                 -- Database role that archived the month
    entries bigint NOT NULL,                                   -- Number of entries in the archive
    manifest_hash bytea NOT NULL,                              -- SHA-256 of the manifest of the archive
    daily_hash bytea NOT NULL,                                 -- SHA-256 of the rows of spend_daily of the month
    CONSTRAINT archived_months_pkey PRIMARY KEY (month)
);
GRANT SELECT ON archived_months TO adserver_app;

-- What the entries of archived months add to the counters of budgets.
CREATE TABLE opening_balances (
    month date NOT NULL,                                       -- First day of the archived month
    campaign_id varchar COLLATE "C",                           -- Campaign; NULL for the budget of an order
    order_id varchar COLLATE "C",                              -- Order; NULL for the budget of a campaign
    period text NOT NULL,                                      -- hour, day or lifetime
    period_start timestamptz NOT NULL,                         -- Start of the period; 1970 for lifetime
    amount numeric(18,6) NOT NULL,                             -- Sum of the archived entries that count in the period
    ads bigint NOT NULL,                                       -- Number of ads that these entries charge
    CONSTRAINT one_opening_balance_for_each_period UNIQUE NULLS NOT DISTINCT (month, campaign_id, order_id, period, period_start),
    CONSTRAINT opening_balance_has_one_owner CHECK (num_nonnulls(campaign_id, order_id) = 1)
);
GRANT SELECT ON opening_balances TO adserver_app;

-- Charges in archived months whose serves are still kept.
CREATE TABLE archived_charges (
    request_key uuid NOT NULL,                                 -- Request of the serve
    slot smallint NOT NULL,                                    -- Slot of the serve
    campaign_id varchar COLLATE "C" NOT NULL,                  -- Campaign
    currency varchar(3) NOT NULL,                              -- Currency of the amount
    amount numeric(18,6) NOT NULL,                             -- Amount charged
    kind text NOT NULL,                                        -- charge or settle
    booked_at timestamptz NOT NULL,                            -- When it was booked
    CONSTRAINT archived_charges_pkey PRIMARY KEY (request_key, slot)
);
GRANT SELECT ON archived_charges TO adserver_app;


-- ====================================================================================================
-- Invoices: invoices and credit notes of closed months.

-- The number of the last invoice; not a sequence, which would leave holes.
CREATE TABLE invoice_counter (
    only_row integer NOT NULL DEFAULT 1,                       -- Always 1
    last_number bigint NOT NULL DEFAULT 0,                     -- Number of the last invoice or credit note
    CONSTRAINT invoice_counter_pkey PRIMARY KEY (only_row),
    CONSTRAINT invoice_counter_has_one_row CHECK (only_row = 1)
);
GRANT SELECT ON invoice_counter TO adserver_app;

-- Invoices and credit notes of closed months; never changed.
CREATE TABLE invoices (
    number bigint NOT NULL,                                    -- Number, without holes; credit notes are in the same series
    kind text NOT NULL,                                        -- invoice, or credit_note if the total is negative
    month date NOT NULL,                                       -- First day of the closed month in which its entries are booked
    corrects bigint,                                           -- Invoice of an earlier month whose entries were reversed; NULL for the entries of the month
    advertiser_id varchar COLLATE "C" NOT NULL,                -- Advertiser, who pays
    advertiser_name text NOT NULL,                             -- Name of the advertiser at its last entry of the month
    billing_details text,                                      -- Billing details of the advertiser when the invoice was made
    order_id varchar COLLATE "C",                              -- Order; NULL for the campaigns without an order
    purchase_order text,                                       -- The advertiser's purchase order number when the invoice was made
    currency varchar(3) NOT NULL,                              -- Currency of every amount
    minor_units smallint NOT NULL,                             -- Decimals of the currency, as in ISO 4217; 6 if it has no minor unit
    total_exact numeric(18,6) NOT NULL,                        -- Sum of the lines
    total numeric(18,6) NOT NULL,                              -- Amount to be paid: rounded half away from zero to the currency's minor unit
    made_at timestamptz NOT NULL,                              -- When the invoice was made
    made_by text NOT NULL,                                     -- Database role that made the invoice
    CONSTRAINT invoices_pkey PRIMARY KEY (number),
    CONSTRAINT a_month_is_invoiced_once UNIQUE NULLS NOT DISTINCT (month, advertiser_id, order_id, currency, corrects),
    CONSTRAINT invoices_corrects_fkey FOREIGN KEY (corrects) REFERENCES invoices(number),
    CONSTRAINT a_correction_follows_its_invoice CHECK (corrects < number),
    CONSTRAINT a_credit_note_is_negative CHECK ((kind = 'credit_note'::text) = (total_exact < 0::numeric)),
    CONSTRAINT invoice_is_for_a_month CHECK (date_trunc('month'::text, month::timestamp without time zone) = month),
    CONSTRAINT invoice_kind_is_known CHECK (kind = ANY (ARRAY['invoice'::text, 'credit_note'::text])),
    CONSTRAINT total_is_rounded_once CHECK (total = round(total_exact, minor_units::integer))
);
-- Keeps invoices as they were made.
CREATE TRIGGER invoices_are_kept BEFORE DELETE OR UPDATE ON invoices
    FOR EACH ROW EXECUTE FUNCTION refuse_invoice_change();
ALTER TABLE invoices ENABLE ALWAYS TRIGGER invoices_are_kept;
-- Keeps invoices from being truncated.
CREATE TRIGGER invoices_are_not_truncated BEFORE TRUNCATE ON invoices
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_invoice_change();
ALTER TABLE invoices ENABLE ALWAYS TRIGGER invoices_are_not_truncated;
-- Numbers invoices without holes.
CREATE TRIGGER invoice_is_issued BEFORE INSERT ON invoices
    FOR EACH ROW EXECUTE FUNCTION issue_invoice();
ALTER TABLE invoices ENABLE ALWAYS TRIGGER invoice_is_issued;
GRANT INSERT, SELECT ON invoices TO adserver_app;

-- Lines of invoices and credit notes; never changed.
CREATE TABLE invoice_details (
    number bigint NOT NULL,                                    -- Invoice
    "position" integer NOT NULL,                               -- Position of the line, from 1
    kind text NOT NULL,                                        -- ads, clicks, completions, days of a flat price, or adjustment
    campaign_id varchar COLLATE "C" NOT NULL,                  -- Campaign
    cpm numeric(18,3),                                         -- Price of a thousand of them; NULL for days and for an adjustment
    impressions bigint,                                        -- Number of them charged; NULL for an adjustment
    reversed bigint,                                           -- Number of them whose charge was taken back; NULL for an adjustment
    amount numeric(18,6) NOT NULL,                             -- Exact amount of the line
    entry_id bigint,                                           -- Ledger entry of an adjustment or of its reversal; NULL for the others
    reason text,                                               -- Reason of the adjustment; NULL for the others
    CONSTRAINT invoice_details_pkey PRIMARY KEY (number, "position"),
    CONSTRAINT invoice_details_number_fkey FOREIGN KEY (number) REFERENCES invoices(number),
    CONSTRAINT ads_have_their_price CHECK (amount = ((impressions - reversed)::numeric * cpm / 1000::numeric)),
    CONSTRAINT detail_is_complete CHECK (
CASE kind
    WHEN 'adjustment'::text THEN num_nonnulls(cpm, impressions, reversed) = 0 AND num_nulls(entry_id, reason) = 0
    WHEN 'days'::text THEN num_nulls(impressions, reversed) = 0 AND num_nonnulls(cpm, entry_id, reason) = 0
    ELSE num_nulls(cpm, impressions, reversed) = 0 AND num_nonnulls(entry_id, reason) = 0
END),
    CONSTRAINT detail_kind_is_known CHECK (kind = ANY (ARRAY['ads'::text, 'clicks'::text, 'completions'::text, 'days'::text, 'adjustment'::text]))
);
-- Accepts lines only in the transaction that makes their invoice.
CREATE TRIGGER details_are_complete BEFORE INSERT ON invoice_details
    FOR EACH ROW EXECUTE FUNCTION refuse_later_invoice_detail();
ALTER TABLE invoice_details ENABLE ALWAYS TRIGGER details_are_complete;
-- Keeps lines of invoices as they were made.
CREATE TRIGGER details_are_kept BEFORE DELETE OR UPDATE ON invoice_details
    FOR EACH ROW EXECUTE FUNCTION refuse_invoice_change();
ALTER TABLE invoice_details ENABLE ALWAYS TRIGGER details_are_kept;
-- Keeps lines of invoices from being truncated.
CREATE TRIGGER details_are_not_truncated BEFORE TRUNCATE ON invoice_details
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_invoice_change();
ALTER TABLE invoice_details ENABLE ALWAYS TRIGGER details_are_not_truncated;
GRANT INSERT, SELECT ON invoice_details TO adserver_app;


-- ====================================================================================================
-- The outbox of events, the webhooks that receive them, and the deliveries that are pending.

-- URLs of other systems that receive events.
CREATE TABLE webhooks (
    id varchar COLLATE "C" NOT NULL,                           -- Webhook id
    url text NOT NULL,                                         -- URL that events are posted to
    secret text NOT NULL,                                      -- Secret that signs them: whsec_ and Base64
    events text[] NOT NULL DEFAULT '{}'::text[],               -- Types of the events that it receives; empty for all
    status text NOT NULL,                                      -- active or paused; events for a paused webhook wait
    CONSTRAINT webhooks_pkey PRIMARY KEY (id),
    CONSTRAINT webhook_status_is_known CHECK (status = ANY (ARRAY['active'::text, 'paused'::text]))
);
-- Notes the change of every webhook.
CREATE TRIGGER webhook_truncation_is_noted AFTER TRUNCATE ON webhooks
    FOR EACH STATEMENT EXECUTE FUNCTION note_setup_change('webhook');
ALTER TABLE webhooks ENABLE ALWAYS TRIGGER webhook_truncation_is_noted;
-- Notes the change of the webhook.
CREATE TRIGGER webhook_change_is_noted AFTER INSERT OR DELETE OR UPDATE ON webhooks
    FOR EACH ROW EXECUTE FUNCTION note_setup_change('webhook', 'id');
ALTER TABLE webhooks ENABLE ALWAYS TRIGGER webhook_change_is_noted;
GRANT INSERT, SELECT, UPDATE ON webhooks TO adserver_app;

-- Events for other systems, each written in the transaction that causes it.
CREATE TABLE outbox (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,           -- Number of the event
    created_at timestamptz NOT NULL DEFAULT adserver_clock(),  -- When it happened
    event text NOT NULL,                                       -- Type of the event, such as budget.reached_80_percent
    subject text NOT NULL,                                     -- The item that the event is about, such as campaign spring
    payload jsonb NOT NULL,                                    -- The facts, which a webhook receives as data
    once_key text,                                             -- Key of an event that is recorded once; NULL for any number of times
    published_at timestamptz,                                  -- When its deliveries were created; NULL until then
    CONSTRAINT outbox_pkey PRIMARY KEY (id),
    CONSTRAINT event_is_recorded_once UNIQUE (once_key),
    CONSTRAINT event_is_known CHECK (event = ANY (ARRAY['budget.reached_80_percent'::text, 'budget.reached_100_percent'::text, 'order.reached_80_percent'::text, 'order.reached_100_percent'::text, 'campaign.over'::text, 'month.closed'::text, 'books.disagree'::text, 'books.agree'::text])),
    CONSTRAINT payload_is_small CHECK (octet_length(payload::text) <= 16384)
);
CREATE INDEX outbox_books
    ON outbox USING btree (id) WHERE (event = ANY (ARRAY['books.disagree'::text, 'books.agree'::text]));
CREATE INDEX outbox_unpublished
    ON outbox USING btree (id) WHERE (published_at IS NULL);
GRANT DELETE, INSERT, SELECT ON outbox TO adserver_app;

-- Events that a webhook has not acknowledged; the row with the lowest position is attempted next.
CREATE TABLE webhook_deliveries (
    webhook_id varchar COLLATE "C" NOT NULL,                   -- Webhook
    "position" bigint NOT NULL GENERATED ALWAYS AS IDENTITY,   -- Increases in the order of delivery
    event_id bigint NOT NULL,                                  -- Event of the outbox
    attempts integer NOT NULL DEFAULT 0,                       -- Failed attempts so far
    failing_since timestamptz,                                 -- When the first of them failed; NULL if none did
    next_attempt_at timestamptz NOT NULL DEFAULT clock_timestamp(), -- Earliest time of the next attempt; while one is running, when it is given up for lost
    last_error text,                                           -- Why the latest attempt failed
    CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (webhook_id, "position"),
    CONSTRAINT event_is_delivered_once UNIQUE (event_id, webhook_id),
    CONSTRAINT webhook_deliveries_event_id_fkey FOREIGN KEY (event_id) REFERENCES outbox(id),
    CONSTRAINT webhook_deliveries_webhook_id_fkey FOREIGN KEY (webhook_id) REFERENCES webhooks(id),
    CONSTRAINT attempts_are_not_negative CHECK (attempts >= 0)
);
GRANT DELETE, INSERT, SELECT, UPDATE ON webhook_deliveries TO adserver_app;


-- ====================================================================================================
-- Functions.

-- The current time for every rule: caps, budgets, flights and pacing use no other clock.
CREATE FUNCTION public.adserver_clock()
 RETURNS timestamp with time zone
 LANGUAGE sql
 STABLE PARALLEL SAFE
RETURN transaction_timestamp();

-- An amount as text, exact, with at least two decimals.
CREATE FUNCTION public.amount_text(amount numeric)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN (CASE WHEN (scale(trim_scale(amount)) < 2) THEN round(amount, 2) ELSE trim_scale(amount) END)::text;

-- Moves budget periods that ended more than the given number of days ago to budget_archive; returns how many.
CREATE FUNCTION public.archive_budget_periods(after_days integer, max_rows integer)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
 SET lock_timeout TO '200ms'
AS $function$
DECLARE
    moved integer;
BEGIN
    IF after_days IS NULL OR after_days < 10 THEN
        RAISE EXCEPTION 'after_days: must be at least 10' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    LOCK TABLE ledger_corrections IN SHARE ROW EXCLUSIVE MODE;
    WITH ended AS (
        SELECT t.ctid AS row_ctid FROM budget_tracking t
        WHERE t.period IN ('hour', 'day') AND t.campaign_id IS NOT NULL AND t.held = 0
            AND t.period_start < adserver_clock() - make_interval(days => after_days + 1)
        LIMIT max_rows FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM budget_tracking t USING ended e WHERE t.ctid = e.row_ctid RETURNING t.*
    ), closed AS (
        DELETE FROM budget_periods p USING gone g
        WHERE p.budget_id = g.budget_id AND p.period = g.period AND p.period_start = g.period_start
    )
    INSERT INTO budget_archive (campaign_id, period, period_start, "limit", impressions_limit, spent, impressions)
    SELECT campaign_id, period, period_start, "limit", impressions_limit, spent, impressions FROM gone;
    GET DIAGNOSTICS moved = ROW_COUNT;
    RETURN moved;
END
$function$;
REVOKE EXECUTE ON FUNCTION archive_budget_periods(integer,integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION archive_budget_periods(integer,integer) TO adserver_app;

-- Limit of a running budget period: the configured limit, or what is already used if that is more.
CREATE FUNCTION public.budget_limit("limit" numeric, used numeric)
 RETURNS numeric
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN ("limit" >= used) THEN "limit" WHEN ("limit" < used) THEN used ELSE NULL::numeric END;

-- How much of a limit may be used by now.
CREATE FUNCTION public.budget_pace("limit" numeric, period text, period_start timestamp with time zone, pacing text, front_percent smallint, starts_at timestamp with time zone, ends_at timestamp with time zone, timezone text)
 RETURNS numeric
 LANGUAGE sql
 STABLE PARALLEL SAFE
RETURN CASE WHEN ((pacing = 'asap'::text) OR (period = 'hour'::text)) THEN "limit" WHEN (period = 'lifetime'::text) THEN ("limit" * GREATEST((0)::numeric, LEAST((1)::numeric, ((EXTRACT(epoch FROM (adserver_clock() - starts_at)) / EXTRACT(epoch FROM (ends_at - starts_at))) * ((1)::numeric + ((COALESCE((front_percent)::integer, 0))::numeric / 100.0)))))) ELSE ("limit" * GREATEST((0)::numeric, LEAST((1)::numeric, ((EXTRACT(epoch FROM (adserver_clock() - period_start)) / EXTRACT(epoch FROM (window_end('day'::text, period_start, timezone) - period_start))) * ((1)::numeric + ((COALESCE((front_percent)::integer, 0))::numeric / 100.0)))))) END;

-- Like window_end; the window may also be a length such as 90 minutes.
CREATE FUNCTION public.cap_window_end("window" text, start timestamp with time zone, timezone text)
 RETURNS timestamp with time zone
 LANGUAGE sql
 STABLE PARALLEL SAFE
RETURN CASE WHEN ("window" ~ '^[0-9]+ days?$'::text) THEN date_trunc('day'::text, date_add(start, ("window")::interval, timezone), timezone) WHEN ("window" ~ '^[0-9]'::text) THEN (start + ("window")::interval) ELSE window_end("window", start, timezone) END;

-- Like window_start; the window may also be a length such as 90 minutes.
CREATE FUNCTION public.cap_window_start("window" text, at timestamp with time zone, timezone text)
 RETURNS timestamp with time zone
 LANGUAGE sql
 STABLE PARALLEL SAFE
RETURN CASE WHEN ("window" ~ '^[0-9]+ days?$'::text) THEN (((((at AT TIME ZONE timezone))::date - mod((((at AT TIME ZONE timezone))::date - '1970-01-01'::date), (split_part("window", ' '::text, 1))::integer)))::timestamp without time zone AT TIME ZONE timezone) WHEN ("window" ~ '^[0-9]'::text) THEN date_bin(("window")::interval, at, to_timestamp((0)::double precision)) ELSE window_start("window", at, timezone) END;

-- The figures of a month as the books have them now; closing the month keeps them in month_ends.
CREATE FUNCTION public.compute_month_end(month date)
 RETURNS TABLE(advertiser_id character varying, advertiser_name text, order_id character varying, publisher_id character varying, publisher_name text, currency character varying, charged numeric, corrected numeric, publisher_amount numeric, released numeric, held numeric, publisher_held numeric)
 LANGUAGE sql
 STABLE
 SET search_path TO 'public', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_indexscan TO 'off'
BEGIN ATOMIC
 WITH span AS (
          SELECT (date_trunc('month'::text, (compute_month_end.month)::timestamp without time zone))::date AS starts,
             ((date_trunc('month'::text, (compute_month_end.month)::timestamp without time zone) + '1 mon'::interval))::date AS ends
         ), part AS (
          SELECT d.advertiser_id,
             d.advertiser_name,
             d.order_id,
             d.publisher_id,
             d.publisher_name,
             d.currency,
             d.recorded_on AS named_on,
                 CASE
                     WHEN (d.kind = ANY (ARRAY['charge'::text, 'settle'::text, 'flat'::text])) THEN d.amount
                     ELSE (0)::numeric
                 END AS charged,
                 CASE
                     WHEN (d.kind = ANY (ARRAY['charge'::text, 'settle'::text, 'flat'::text])) THEN (0)::numeric
                     ELSE d.amount
                 END AS corrected,
             d.publisher_amount,
             0 AS released,
             0 AS held,
             0 AS publisher_held
            FROM (span
              JOIN spend_daily d ON (((d.booked_on >= span.starts) AND (d.booked_on < span.ends))))
         UNION ALL
          SELECT l.advertiser_id,
             l.advertiser_name,
             l.order_id,
             l.publisher_id,
             l.publisher_name,
             l.currency,
             ((l.booked_at AT TIME ZONE 'UTC'::text))::date AS timezone,
                 CASE
                     WHEN (l.kind = ANY (ARRAY['charge'::text, 'settle'::text, 'flat'::text])) THEN l.amount
                     ELSE (0)::numeric
                 END AS "case",
                 CASE
                     WHEN (l.kind = ANY (ARRAY['charge'::text, 'settle'::text, 'flat'::text])) THEN (0)::numeric
                     ELSE l.amount
                 END AS amount,
             l.publisher_amount,
             0,
             0,
             0
            FROM (span
              JOIN spend_ledger l ON (((l.booked_on >= span.starts) AND (l.booked_on < span.ends))))
           WHERE (l.booked_at >= ( SELECT books_state.rolled_up_to
                    FROM books_state))
         UNION ALL
          SELECT l.advertiser_id,
             l.advertiser_name,
             l.order_id,
             l.publisher_id,
             l.publisher_name,
             l.currency,
             l.booked_on,
             0,
             0,
             0,
             0,
             l.amount,
             l.publisher_amount
            FROM ((span
              JOIN spend_ledger l ON (((l.booked_on >= span.starts) AND (l.booked_on < span.ends) AND (l.booked_at >= (((span.ends)::timestamp without time zone AT TIME ZONE 'UTC'::text) - '14:00:00'::interval)))))
              JOIN campaigns c ON (((c.id)::text = (l.campaign_id)::text)))
           WHERE ((l.kind = 'settle'::text) AND (l.late_from IS NULL) AND (l.booked_at >= ((span.ends)::timestamp without time zone AT TIME ZONE c.timezone)))
         UNION ALL
          SELECT h.advertiser_id,
             h.advertiser_name,
             h.order_id,
             h.publisher_id,
             h.publisher_name,
             h.currency,
             h.booked_on,
             0,
             0,
             0,
             0,
             h.price,
             h.publisher_amount
            FROM (span
              JOIN holds h ON (((h.booked_on >= span.starts) AND (h.booked_on < span.ends))))
         UNION ALL
          SELECT r.advertiser_id,
             r.advertiser_name,
             r.order_id,
             r.publisher_id,
             r.publisher_name,
             r.currency,
             r.booked_on,
             0,
             0,
             0,
             r.price,
                 CASE
                     WHEN at_end.was_held THEN r.price
                     ELSE (0)::numeric
                 END AS "case",
                 CASE
                     WHEN at_end.was_held THEN r.publisher_amount
                     ELSE (0)::numeric
                 END AS "case"
            FROM (((span
              JOIN hold_releases r ON (((r.booked_on >= span.starts) AND (r.booked_on < span.ends) AND (r.served_on >= (span.starts - 1)) AND (r.served_on <= span.ends) AND (r.entry_id IS NULL))))
              JOIN campaigns c ON (((c.id)::text = (r.campaign_id)::text)))
              CROSS JOIN LATERAL ( SELECT (r.released_at >= ((span.ends)::timestamp without time zone AT TIME ZONE c.timezone)) AS was_held) at_end)
         )
  SELECT p.advertiser_id,
     (array_agg(p.advertiser_name ORDER BY p.named_on DESC, p.advertiser_name))[1] AS array_agg,
     p.order_id,
     p.publisher_id,
     (array_agg(p.publisher_name ORDER BY p.named_on DESC, p.publisher_name))[1] AS array_agg,
     p.currency,
     sum(p.charged) AS sum,
     sum(p.corrected) AS sum,
     sum(p.publisher_amount) AS sum,
     sum(p.released) AS sum,
     sum(p.held) AS sum,
     sum(p.publisher_held) AS sum
    FROM part p
   GROUP BY p.advertiser_id, p.order_id, p.publisher_id, p.currency;
END;
REVOKE EXECUTE ON FUNCTION compute_month_end(date) FROM PUBLIC;

-- Creates a partition and moves its rows there from the default partition.
CREATE FUNCTION public.create_partition(parent text, name text, key text, low date, high date)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'public', 'pg_temp'
AS $function$
DECLARE
    its_range text := format('%I >= %L AND %I < %L', key, low, key, high);
    has_rows boolean;
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMMENTS)', name, parent);
    EXECUTE format('COMMENT ON TABLE %I IS %L', name,
                   format('Rows of %s with %s from %s until before %s', parent, key, low, high));
    EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE %s)', parent || '_default', its_range) INTO has_rows;
    IF has_rows THEN
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent || '_default');
        EXECUTE format('CREATE UNLOGGED TABLE %I AS SELECT * FROM %I WHERE %s', name || '_moving', parent || '_default',
                       its_range);
        EXECUTE format('DELETE FROM %I WHERE %s', parent || '_default', its_range);
    END IF;
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, name, low, high);
    IF has_rows THEN
        EXECUTE format('INSERT INTO %I OVERRIDING SYSTEM VALUE TABLE %I', parent, name || '_moving');
        EXECUTE format('DROP TABLE %I', name || '_moving');
    END IF;
    IF parent = 'spend_ledger' THEN
        PERFORM guard_ledger_partition(name::regclass, low <= (SELECT max(c.month) FROM closed_months c));
    END IF;
END
$function$;
REVOKE EXECUTE ON FUNCTION create_partition(text,text,text,date,date) FROM PUBLIC;

-- Drops the oldest partition of a table that is older than a day; returns its name, or NULL.
CREATE FUNCTION public.drop_partition(parent text, before date)
 RETURNS text
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
 SET lock_timeout TO '200ms'
AS $function$
DECLARE
    least_days integer := CASE parent
        WHEN 'served_documents' THEN 2 WHEN 'ad_serves' THEN 35 WHEN 'ad_events' THEN 35 WHEN 'hold_releases' THEN 35 END;
    oldest text;
BEGIN
    IF least_days IS NULL OR before > (adserver_clock() AT TIME ZONE 'UTC')::date - least_days THEN
        RAISE EXCEPTION 'partitions of % before % must not be dropped', parent, before
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT c.relname INTO oldest
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = parent::regclass AND c.relname ~ (parent || '_[0-9]{8}$')
        AND right(c.relname, 8) < to_char(before, 'YYYYMMDD')
    ORDER BY c.relname LIMIT 1;
    IF oldest IS NOT NULL THEN
        EXECUTE format('DROP TABLE %I', oldest);
        INSERT INTO retention AS r (parent, dropped_before) VALUES (parent, to_date(right(oldest, 8), 'YYYYMMDD') + 1)
        ON CONFLICT ON CONSTRAINT retention_pkey DO UPDATE
            SET dropped_before = greatest(r.dropped_before, excluded.dropped_before);
    END IF;
    IF parent = 'ad_serves' THEN
        -- A serve is not younger than its charge.
        DELETE FROM archived_charges c WHERE (c.booked_at AT TIME ZONE 'UTC')::date < to_date(right(oldest, 8), 'YYYYMMDD') + 1;
    END IF;
    RETURN oldest;
END
$function$;
REVOKE EXECUTE ON FUNCTION drop_partition(text,date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION drop_partition(text,date) TO adserver_app;

-- Total spend of every campaign at a past moment, by the times at which the entries were booked.
CREATE FUNCTION finance.balance_as_of(at timestamp with time zone)
 RETURNS TABLE(campaign_id text, advertiser text, currency text, spent numeric)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
BEGIN ATOMIC
 SELECT b.campaign_id,
     c.advertiser,
     b.currency,
     sum(b.amount) AS sum
    FROM (( SELECT d.campaign_id,
             d.currency,
             d.amount
            FROM spend_daily d
           WHERE (d.recorded_on < ((LEAST(balance_as_of.at, ( SELECT books_state.rolled_up_to
                    FROM books_state)) AT TIME ZONE 'UTC'::text))::date)
         UNION ALL
          SELECT l.campaign_id,
             l.currency,
             l.amount
            FROM spend_ledger l
           WHERE ((l.booked_at <= balance_as_of.at) AND (l.booked_at >= date_trunc('day'::text, LEAST(balance_as_of.at, ( SELECT books_state.rolled_up_to
                    FROM books_state)), 'UTC'::text)))) b
      JOIN campaigns c ON (((c.id)::text = (b.campaign_id)::text)))
   GROUP BY b.campaign_id, c.advertiser, b.currency
   ORDER BY c.advertiser, b.campaign_id;
END;
REVOKE EXECUTE ON FUNCTION finance.balance_as_of(timestamp with time zone) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION finance.balance_as_of(timestamp with time zone) TO adserver_app;
GRANT EXECUTE ON FUNCTION finance.balance_as_of(timestamp with time zone) TO adserver_finance;

-- What delivery_hourly shows of a span of time, computed from serves, beacons and the ledger.
CREATE FUNCTION finance.compute_delivery(since timestamp with time zone, until timestamp with time zone)
 RETURNS TABLE(hour timestamp with time zone, campaign_id character varying, creative_id character varying, placement_id character varying, publisher_id character varying, country text, device_type text, serves bigint, seen bigint, first_quartile bigint, midpoint bigint, third_quartile bigint, completed bigint, clicks bigint, errors bigint, late bigint, expired bigint, reversed bigint, charged numeric, corrected numeric)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
BEGIN ATOMIC
 WITH part AS (
          SELECT s.served_at AS happened_at,
             s.campaign_id,
             s.creative_id,
             s.placement_id,
             s.publisher_id,
             s.country,
             s.device_type,
             'serve'::text AS what,
             false AS is_late,
             0 AS charged,
             0 AS corrected
            FROM ad_serves s
           WHERE ((s.served_at >= compute_delivery.since) AND (s.served_at < compute_delivery.until) AND ((s.served_on >= ((compute_delivery.since AT TIME ZONE 'UTC'::text))::date) AND (s.served_on <= ((compute_delivery.until AT TIME ZONE 'UTC'::text))::date)))
         UNION ALL
          SELECT e.received_at,
             s.campaign_id,
             s.creative_id,
             s.placement_id,
             s.publisher_id,
             s.country,
             s.device_type,
             e.event,
             ((e.event = s.billing) AND (e.entry_id IS NULL)),
             0,
             0
            FROM (ad_events e
              JOIN ad_serves s ON (((s.request_key = e.request_key) AND (s.slot = e.slot) AND (s.served_on = e.served_on))))
           WHERE ((e.received_at >= compute_delivery.since) AND (e.received_at < compute_delivery.until) AND (e.event = ANY (ARRAY['impression'::text, 'firstQuartile'::text, 'midpoint'::text, 'thirdQuartile'::text, 'complete'::text, 'click'::text, 'error'::text])) AND ((e.served_on >= (((compute_delivery.since AT TIME ZONE 'UTC'::text))::date - 8)) AND (e.served_on <= ((compute_delivery.until AT TIME ZONE 'UTC'::text))::date)))
         UNION ALL
          SELECT r.released_at,
             s.campaign_id,
             s.creative_id,
             s.placement_id,
             s.publisher_id,
             s.country,
             s.device_type,
             r.cause,
             false,
             0,
             0
            FROM (hold_releases r
              JOIN ad_serves s ON (((s.request_key = r.request_key) AND (s.slot = r.slot) AND (s.served_on = r.served_on))))
           WHERE ((r.released_at >= compute_delivery.since) AND (r.released_at < compute_delivery.until) AND (r.cause = 'expiry'::text) AND ((r.served_on >= (((compute_delivery.since AT TIME ZONE 'UTC'::text))::date - 8)) AND (r.served_on <= ((compute_delivery.until AT TIME ZONE 'UTC'::text))::date)))
         UNION ALL
          SELECT l.booked_at,
             l.campaign_id,
             l.creative_id,
             l.placement_id,
             l.publisher_id,
             v.country,
             v.device_type,
                 CASE
                     WHEN (l.request_key IS NULL) THEN 'adjustment'::text
                     ELSE l.kind
                 END AS kind,
             false,
                 CASE
                     WHEN (l.kind = ANY (ARRAY['charge'::text, 'settle'::text])) THEN l.amount
                     ELSE (0)::numeric
                 END AS "case",
                 CASE
                     WHEN (l.kind = ANY (ARRAY['adjustment'::text, 'reversal'::text])) THEN l.amount
                     ELSE (0)::numeric
                 END AS "case"
            FROM (spend_ledger l
              LEFT JOIN LATERAL ( SELECT s.country,
                     s.device_type
                    FROM ad_serves s
                   WHERE ((s.request_key = l.request_key) AND (s.slot = l.slot) AND ((s.served_on >= (((l.hour_start AT TIME ZONE 'UTC'::text))::date - 8)) AND (s.served_on <= (((l.hour_start AT TIME ZONE 'UTC'::text) + '01:00:00'::interval))::date)))
                  LIMIT 1) v ON (true))
           WHERE ((l.booked_at >= compute_delivery.since) AND (l.booked_at < compute_delivery.until) AND (l.kind <> 'flat'::text))
         )
  SELECT date_trunc('hour'::text, p.happened_at, 'UTC'::text) AS date_trunc,
     p.campaign_id,
     p.creative_id,
     p.placement_id,
     p.publisher_id,
     p.country,
     p.device_type,
     count(*) FILTER (WHERE (p.what = 'serve'::text)) AS count,
     count(*) FILTER (WHERE (p.what = 'impression'::text)) AS count,
     count(*) FILTER (WHERE (p.what = 'firstQuartile'::text)) AS count,
     count(*) FILTER (WHERE (p.what = 'midpoint'::text)) AS count,
     count(*) FILTER (WHERE (p.what = 'thirdQuartile'::text)) AS count,
     count(*) FILTER (WHERE (p.what = 'complete'::text)) AS count,
     count(*) FILTER (WHERE (p.what = 'click'::text)) AS count,
     count(*) FILTER (WHERE (p.what = 'error'::text)) AS count,
     count(*) FILTER (WHERE p.is_late) AS count,
     count(*) FILTER (WHERE (p.what = 'expiry'::text)) AS count,
     count(*) FILTER (WHERE (p.what = 'reversal'::text)) AS count,
     sum(p.charged) AS sum,
     sum(p.corrected) AS sum
    FROM part p
   GROUP BY (date_trunc('hour'::text, p.happened_at, 'UTC'::text)), p.campaign_id, p.creative_id, p.placement_id, p.publisher_id, p.country, p.device_type;
END;
REVOKE EXECUTE ON FUNCTION finance.compute_delivery(timestamp with time zone,timestamp with time zone) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION finance.compute_delivery(timestamp with time zone,timestamp with time zone) TO adserver_app;
GRANT EXECUTE ON FUNCTION finance.compute_delivery(timestamp with time zone,timestamp with time zone) TO adserver_finance;

-- The ads of a request by its serve_id, within milliseconds.
CREATE FUNCTION finance.impression(serve_id uuid)
 RETURNS SETOF finance.impressions
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'finance', 'pg_temp'
AS $function$
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
$function$;
REVOKE EXECUTE ON FUNCTION finance.impression(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION finance.impression(uuid) TO adserver_app;
GRANT EXECUTE ON FUNCTION finance.impression(uuid) TO adserver_finance;

-- What a month came to, by advertiser, order, publisher and currency: as kept when it was closed, or as it is now. charged: for ads. corrected: adjustments and reversals. spent: charged + corrected, as in campaign_spend_daily. publisher_amount: the publishers' part of spent. released: held for ads of the month and given back, never charged. held: the accrual, which is the part of charged, of released and of what is still open that was held at the month's last midnight in the campaign's time zone. publisher_held: the publishers' part of it.
CREATE FUNCTION finance.month_end(month date)
 RETURNS TABLE(month date, closed boolean, advertiser_id text, advertiser text, order_id text, publisher_id text, publisher text, currency text, charged numeric, corrected numeric, spent numeric, publisher_amount numeric, released numeric, held numeric, publisher_held numeric)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
BEGIN ATOMIC
 SELECT span.starts,
     f.closed,
     f.advertiser_id,
     f.advertiser_name,
     f.order_id,
     f.publisher_id,
     f.publisher_name,
     f.currency,
     f.charged,
     f.corrected,
     (f.charged + f.corrected),
     f.publisher_amount,
     f.released,
     f.held,
     f.publisher_held
    FROM (( SELECT (date_trunc('month'::text, (month_end.month)::timestamp without time zone))::date AS starts) span
      CROSS JOIN LATERAL ( SELECT true AS closed,
             k.advertiser_id,
             k.advertiser_name,
             k.order_id,
             k.publisher_id,
             k.publisher_name,
             k.currency,
             k.charged,
             k.corrected,
             k.publisher_amount,
             k.released,
             k.held,
             k.publisher_held
            FROM month_ends k
           WHERE (k.month = span.starts)
         UNION ALL
          SELECT false,
             o.advertiser_id,
             o.advertiser_name,
             o.order_id,
             o.publisher_id,
             o.publisher_name,
             o.currency,
             o.charged,
             o.corrected,
             o.publisher_amount,
             o.released,
             o.held,
             o.publisher_held
            FROM compute_month_end(span.starts) o(advertiser_id, advertiser_name, order_id, publisher_id, publisher_name, currency, charged, corrected, publisher_amount, released, held, publisher_held)
           WHERE (span.starts > COALESCE(( SELECT max(c.month) AS max
                    FROM closed_months c), '-infinity'::date))) f)
   ORDER BY f.advertiser_id, f.order_id, f.publisher_id, f.currency;
END;
REVOKE EXECUTE ON FUNCTION finance.month_end(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION finance.month_end(date) TO adserver_app;
GRANT EXECUTE ON FUNCTION finance.month_end(date) TO adserver_finance;

-- The terms of every campaign as they were at a past moment; since and author are those of the last change before it.
CREATE FUNCTION finance.terms_as_of(moment timestamp with time zone)
 RETURNS TABLE(campaign_id text, advertiser_id text, advertiser text, order_id text, status text, starts_at timestamp with time zone, ends_at timestamp with time zone, timezone text, currency text, cpm numeric, price_model text, price numeric, billing text, pacing text, budgets jsonb, since timestamp with time zone, author text)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
BEGIN ATOMIC
 SELECT c.id,
     (c.new ->> 'advertiser'::text),
     (a.new ->> 'name'::text),
     (c.new ->> 'order'::text),
     (c.new ->> 'status'::text),
     ((c.new ->> 'starts_at'::text))::timestamp with time zone AS timestamptz,
     ((c.new ->> 'ends_at'::text))::timestamp with time zone AS timestamptz,
     (c.new ->> 'timezone'::text),
     (c.new ->> 'currency'::text),
     ((c.new ->> 'cpm'::text))::numeric AS "numeric",
     p.model,
     p.amount,
     (c.new ->> 'billing'::text),
     (c.new ->> 'pacing'::text),
     COALESCE((c.new -> 'budgets'::text), '{}'::jsonb) AS "coalesce",
     c.changed_at,
     c.author
    FROM ((( SELECT DISTINCT ON (h.id) h.id,
             h.new,
             h.changed_at,
             h.author
            FROM setup_history h
           WHERE ((h.kind = 'campaign'::text) AND (h.changed_at <= terms_as_of.moment))
           ORDER BY h.id, h.version DESC) c
      CROSS JOIN LATERAL ( SELECT jsonb_each_text.key AS model,
             (jsonb_each_text.value)::numeric AS amount
            FROM jsonb_each_text(COALESCE((c.new -> 'price'::text), jsonb_build_object('cpm', (c.new -> 'cpm'::text)))) jsonb_each_text(key, value)) p)
      LEFT JOIN LATERAL ( SELECT h.new
            FROM setup_history h
           WHERE ((h.kind = 'advertiser'::text) AND ((h.id)::text = (c.new ->> 'advertiser'::text)) AND (h.changed_at <= terms_as_of.moment))
           ORDER BY h.version DESC
          LIMIT 1) a ON (true))
   WHERE (c.new IS NOT NULL)
   ORDER BY c.id;
END;
REVOKE EXECUTE ON FUNCTION finance.terms_as_of(timestamp with time zone) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION finance.terms_as_of(timestamp with time zone) TO adserver_app;
GRANT EXECUTE ON FUNCTION finance.terms_as_of(timestamp with time zone) TO adserver_finance;

-- Creates the triggers of a partition of the ledger that it does not get from the table.
CREATE FUNCTION public.guard_ledger_partition(partition regclass, is_closed boolean)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'public', 'pg_temp'
AS $function$
DECLARE
    guard record;
BEGIN
    FOR guard IN
        SELECT * FROM (VALUES
            ('entries_are_not_truncated', 'BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()',
             'Keeps the ledger from being truncated'),
            ('month_is_closed',
             'BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION refuse_closed_month(''booked_on'', ''closed'')',
             'Rejects entries of a closed month')
        ) AS g (name, definition, comment)
        WHERE (is_closed OR name <> 'month_is_closed')
            AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = partition AND tgname = g.name)
    LOOP
        EXECUTE format('CREATE TRIGGER %I ' || guard.definition, guard.name, partition);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', partition, guard.name);
        EXECUTE format('COMMENT ON TRIGGER %I ON %s IS %L', guard.name, partition, guard.comment);
    END LOOP;
END
$function$;
REVOKE EXECUTE ON FUNCTION guard_ledger_partition(regclass,boolean) FROM PUBLIC;

-- Gives an invoice of a closed month the next number, the time, and the role that made it.
CREATE FUNCTION public.issue_invoice()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
AS $function$
BEGIN
    IF NEW.month > coalesce((SELECT max(month) FROM closed_months), '-infinity') THEN
        RAISE EXCEPTION 'the books of % are not closed', to_char(NEW.month, 'YYYY-MM')
            USING ERRCODE = 'check_violation', CONSTRAINT = 'invoiced_month_is_closed';
    END IF;
    UPDATE invoice_counter SET last_number = last_number + 1 RETURNING last_number INTO NEW.number;
    NEW.made_at := adserver_clock();
    NEW.made_by := session_user;
    RETURN NEW;
END
$function$;
REVOKE EXECUTE ON FUNCTION issue_invoice() FROM PUBLIC;

-- Rejects a changed key of budget_tracking.
CREATE FUNCTION public.keep_budget_period()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    RAISE EXCEPTION 'the owner and period of a row of budget_tracking cannot be changed'
        USING ERRCODE = 'integrity_constraint_violation';
END
$function$;

-- Lets an entry leave the default partition only for its own partition.
CREATE FUNCTION public.keep_moved_entry()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
AS $function$
BEGIN
    IF repair_reason() IS NULL AND NOT EXISTS (
        SELECT FROM spend_ledger l WHERE l.entry_id = OLD.entry_id AND l.booked_on = OLD.booked_on
            AND ROW(l.*) IS NOT DISTINCT FROM ROW(OLD.*)) THEN
        RAISE EXCEPTION 'entry % may leave the default partition only for its own partition', OLD.entry_id
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END
$function$;
REVOKE EXECUTE ON FUNCTION keep_moved_entry() FROM PUBLIC;

-- Lets only the triggers of the setup write its history.
CREATE FUNCTION public.keep_setup_history()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF pg_trigger_depth() > 1 AND TG_OP = ANY (TG_ARGV) THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'the history of the setup is written by triggers alone, and never changed or removed'
        USING ERRCODE = 'integrity_constraint_violation';
END
$function$;

-- Blocks others that make invoices until the transaction ends; returns the last number.
CREATE FUNCTION public.lock_invoice_numbers()
 RETURNS bigint
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
BEGIN ATOMIC
 SELECT invoice_counter.last_number
    FROM invoice_counter
  FOR UPDATE OF invoice_counter;
END;
REVOKE EXECUTE ON FUNCTION lock_invoice_numbers() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lock_invoice_numbers() TO adserver_app;

-- Creates the ledger's partition of a month if it is missing, for an entry of an earlier date.
CREATE FUNCTION public.make_ledger_partition(month date)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
 SET lock_timeout TO '2s'
AS $function$
DECLARE
    name text := 'spend_ledger' || to_char(month, '_YYYYMM');
BEGIN
    IF to_regclass(name) IS NOT NULL THEN
        RETURN;
    END IF;
    LOCK TABLE maintenance IN SHARE UPDATE EXCLUSIVE MODE;
    IF to_regclass(name) IS NULL THEN
        PERFORM create_partition('spend_ledger', name, 'booked_on', month, (month + interval '1 month')::date);
    END IF;
END
$function$;
REVOKE EXECUTE ON FUNCTION make_ledger_partition(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION make_ledger_partition(date) TO adserver_app;

-- Creates the missing partitions from yesterday until the given number of days from now; returns how many.
CREATE FUNCTION public.make_partitions(ahead_days integer)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
 SET lock_timeout TO '200ms'
AS $function$
DECLARE
    wanted record;
    made integer := 0;
BEGIN
    IF ahead_days IS NULL OR ahead_days NOT BETWEEN 0 AND 366 THEN
        RAISE EXCEPTION 'ahead_days: must be between 0 and 366' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    LOCK TABLE maintenance IN SHARE UPDATE EXCLUSIVE MODE;
    FOR wanted IN
        SELECT parent, parent || to_char(day, '_YYYYMMDD') AS name, 'served_on' AS key, day AS low, day + 1 AS high
        FROM (
            SELECT t.parent, d::date AS day
            FROM unnest(ARRAY['ad_serves', 'served_documents', 'ad_events', 'hold_releases']) AS t(parent),
                 generate_series(adserver_clock() AT TIME ZONE 'UTC' - interval '1 day',
                                 adserver_clock() AT TIME ZONE 'UTC' + make_interval(days => ahead_days),
                                 interval '1 day') AS d
            UNION SELECT 'ad_serves', min(served_on) FROM ad_serves_default
            UNION SELECT 'served_documents', min(served_on) FROM served_documents_default
            UNION SELECT 'ad_events', min(served_on) FROM ad_events_default
            UNION SELECT 'hold_releases', min(served_on) FROM hold_releases_default
        ) AS days WHERE day IS NOT NULL
        UNION ALL
        SELECT 'spend_ledger', 'spend_ledger' || to_char(month, '_YYYYMM'), 'booked_on',
               month::date, (month + interval '1 month')::date
        FROM (
            SELECT generate_series(date_trunc('month', adserver_clock() AT TIME ZONE 'UTC' - interval '1 day'),
                                   adserver_clock() AT TIME ZONE 'UTC' + make_interval(days => ahead_days),
                                   interval '1 month') AS month
            UNION SELECT date_trunc('month', min(booked_on)::timestamp) FROM spend_ledger_default
        ) AS months WHERE month IS NOT NULL
    LOOP
        CONTINUE WHEN to_regclass(wanted.name) IS NOT NULL;
        PERFORM create_partition(wanted.parent, wanted.name, wanted.key, wanted.low, wanted.high);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$function$;
REVOKE EXECUTE ON FUNCTION make_partitions(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION make_partitions(integer) TO adserver_app;

-- Whether a default partition has rows because their own partition was missing.
CREATE FUNCTION public.misplaced_rows()
 RETURNS boolean
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
RETURN ((EXISTS (SELECT FROM ad_serves_default)) OR (EXISTS (SELECT FROM ad_events_default)) OR (EXISTS (SELECT FROM served_documents_default)) OR (EXISTS (SELECT FROM hold_releases_default)) OR (EXISTS (SELECT FROM spend_ledger_default)));
REVOKE EXECUTE ON FUNCTION misplaced_rows() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION misplaced_rows() TO adserver_app;

-- Notes that the item of a row has changed.
CREATE FUNCTION public.note_setup_change()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
AS $function$
DECLARE
    old_id text;
    new_id text;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO unrecorded_setup (kind, id)
        SELECT DISTINCT h.kind, h.id FROM setup_history h WHERE h.kind = TG_ARGV[0] ORDER BY 1, 2
        ON CONFLICT DO NOTHING;
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        CASE TG_ARGV[1]
            WHEN 'id' THEN old_id := OLD.id; WHEN 'campaign_id' THEN old_id := OLD.campaign_id;
            WHEN 'order_id' THEN old_id := OLD.order_id; WHEN 'placement_id' THEN old_id := OLD.placement_id;
        END CASE;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        CASE TG_ARGV[1]
            WHEN 'id' THEN new_id := NEW.id; WHEN 'campaign_id' THEN new_id := NEW.campaign_id;
            WHEN 'order_id' THEN new_id := NEW.order_id; WHEN 'placement_id' THEN new_id := NEW.placement_id;
        END CASE;
    END IF;
    IF old_id IS NOT NULL THEN
        INSERT INTO unrecorded_setup (kind, id) VALUES (TG_ARGV[0], old_id) ON CONFLICT DO NOTHING;
    END IF;
    IF new_id IS DISTINCT FROM old_id AND new_id IS NOT NULL THEN
        INSERT INTO unrecorded_setup (kind, id) VALUES (TG_ARGV[0], new_id) ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END
$function$;
REVOKE EXECUTE ON FUNCTION note_setup_change() FROM PUBLIC;

-- Ensures that a budget period has one row, without a unique index that reads its dead versions.
CREATE FUNCTION public.open_budget_period()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'public', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
DECLARE
    taken integer;
BEGIN
    NEW.budget_id := coalesce(NEW.campaign_id, ' order ' || NEW.order_id);
    INSERT INTO budget_periods AS p (budget_id, period, period_start)
    VALUES (NEW.budget_id, NEW.period, NEW.period_start)
    ON CONFLICT (budget_id, period, period_start) DO UPDATE SET period = p.period;
    SELECT t.generation INTO taken FROM budget_tracking t
    WHERE t.budget_id = NEW.budget_id AND t.period = NEW.period AND t.period_start = NEW.period_start
    FOR UPDATE;
    NEW.generation := coalesce(taken, NEW.generation);
    RETURN NEW;
END
$function$;

-- Number of days after today that have all their partitions; -1 if those of today are missing.
CREATE FUNCTION public.partitions_ahead()
 RETURNS integer
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
RETURN (SELECT (COALESCE(min(n.days), 400) - 1) FROM (generate_series(0, 399) n(days) CROSS JOIN LATERAL (SELECT (((adserver_clock() AT TIME ZONE 'UTC'::text))::date + n.days) AS day) d) WHERE (num_nulls(to_regclass(('ad_serves'::text || to_char((d.day)::timestamp with time zone, '_YYYYMMDD'::text))), to_regclass(('served_documents'::text || to_char((d.day)::timestamp with time zone, '_YYYYMMDD'::text))), to_regclass(('ad_events'::text || to_char((d.day)::timestamp with time zone, '_YYYYMMDD'::text))), to_regclass(('hold_releases'::text || to_char((d.day)::timestamp with time zone, '_YYYYMMDD'::text))), to_regclass(('spend_ledger'::text || to_char((d.day)::timestamp with time zone, '_YYYYMM'::text)))) > 0));
REVOKE EXECUTE ON FUNCTION partitions_ahead() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION partitions_ahead() TO adserver_app;

-- Spent in percent of a limit; 100 if the limit is 0, NULL without a limit.
CREATE FUNCTION public.percentage_spent(spent numeric, "limit" numeric)
 RETURNS numeric
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN ("limit" = (0)::numeric) THEN (100)::numeric ELSE round(((spent * (100)::numeric) / "limit"), 2) END;

-- The publisher's part of an amount that is not negative, rounded half to even.
CREATE FUNCTION public.publisher_part(amount numeric, revenue_share numeric)
 RETURNS numeric
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN CASE mod(((amount * revenue_share) * (1000000)::numeric), (2)::numeric) WHEN 0.5 THEN trunc((amount * revenue_share), 6) ELSE round((amount * revenue_share), 6) END;

-- Records that 80 or 100 percent of a budget was reached, once for each limit.
CREATE FUNCTION public.record_budget_threshold()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'public', 'pg_temp'
AS $function$
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
$function$;

-- Records the changes of the noted items in setup_history.
CREATE FUNCTION public.record_noted_changes()
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'public', 'pg_temp'
 SET "TimeZone" TO 'UTC'
 SET enable_seqscan TO 'off'
 SET plan_cache_mode TO 'force_generic_plan'
AS $function$
DECLARE
    moment timestamptz := adserver_clock() + (clock_timestamp() - transaction_timestamp());
    its_author text := coalesce(nullif(current_setting('adserver.author', true), ''), session_user);
    its_source text := coalesce(nullif(current_setting('adserver.source', true), ''), 'direct');
BEGIN
    its_author := left(regexp_replace(its_author, '[[:cntrl:]]', '?', 'g'), 128);
    its_source := left(regexp_replace(its_source, '[[:cntrl:]]', '?', 'g'), 256);
    WITH noted AS (
        DELETE FROM unrecorded_setup u RETURNING u.kind, u.id
    ), compared AS MATERIALIZED (
        SELECT n.kind, n.id, coalesce(h.version, 0) + 1 AS version, greatest(moment, h.changed_at) AS changed_at,
               h.new AS former, setup_item(n.kind, n.id) AS current
        FROM noted n LEFT JOIN LATERAL (
            SELECT l.version, l.changed_at, l.new FROM setup_history l
            WHERE l.kind = n.kind AND l.id = n.id ORDER BY l.version DESC LIMIT 1
        ) AS h ON true
    )
    INSERT INTO setup_history (kind, id, version, changed_at, revision, old, new, changed_keys, author, source)
    SELECT c.kind, c.id, c.version, c.changed_at, (SELECT a.revision FROM catalog a), c.former, c.current,
           ARRAY(SELECT k.key FROM jsonb_object_keys(coalesce(c.former, '{}') || coalesce(c.current, '{}')) AS k (key)
                 WHERE c.former -> k.key IS DISTINCT FROM c.current -> k.key ORDER BY k.key),
           its_author, its_source
    FROM compared c WHERE c.former IS DISTINCT FROM c.current
    ORDER BY c.kind, c.id;
END
$function$;
REVOKE EXECUTE ON FUNCTION record_noted_changes() FROM PUBLIC;

-- Records the changes of the noted items if that is not done yet.
CREATE FUNCTION public.record_setup_changes()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
AS $function$
BEGIN
    IF EXISTS (SELECT FROM unrecorded_setup u WHERE u.kind = NEW.kind AND u.id = NEW.id) THEN
        PERFORM record_noted_changes();
    END IF;
    RETURN NULL;
END
$function$;
REVOKE EXECUTE ON FUNCTION record_setup_changes() FROM PUBLIC;

-- Creates and deletes the running periods of campaigns and orders, given by budget_id, whose set of budgets has changed.
CREATE FUNCTION public.recount_budgets(owners text[])
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
AS $function$
BEGIN
    LOCK TABLE budget_tracking IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM budget_tracking t
    WHERE t.budget_id = ANY (owners)
        AND t.period_start = window_start(
            t.period, adserver_clock(), coalesce((SELECT c.timezone FROM campaigns c WHERE c.id = t.campaign_id), 'UTC'))
        AND NOT EXISTS (SELECT FROM configured_budgets b WHERE b.budget_id = t.budget_id AND b.period = t.period);
    WITH missing AS MATERIALIZED (
        -- A day that begins at the second of its two midnights has entries of the hour before.
        SELECT n.*, CASE n.period WHEN 'lifetime' THEN s.rolled_up_to
                                  ELSE n.period_start - interval '1 hour' END AS since
        FROM (
            SELECT b.budget_id, b.campaign_id, b.order_id, b.period, b."limit", b.impressions_limit,
                   window_start(b.period, adserver_clock(), coalesce(c.timezone, 'UTC')) AS period_start
            FROM configured_budgets b LEFT JOIN campaigns c ON c.id = b.campaign_id WHERE b.budget_id = ANY (owners)
        ) AS n CROSS JOIN books_state s
        WHERE NOT EXISTS (SELECT FROM budget_tracking t WHERE t.budget_id = n.budget_id AND t.period = n.period
                              AND t.period_start = n.period_start)
    ), booked AS (
        SELECT m.budget_id, m.period, d.kind, d.amount, d.entries
        FROM missing m JOIN spend_daily d ON d.campaign_id = m.campaign_id
        WHERE m.period = 'lifetime'
        UNION ALL
        SELECT m.budget_id, m.period, d.kind, d.amount, d.entries
        FROM missing m JOIN spend_daily d ON d.order_id = m.order_id
        UNION ALL
        SELECT m.budget_id, m.period, l.kind, l.amount, 1
        FROM missing m CROSS JOIN LATERAL (
            SELECT kind, amount FROM spend_ledger
            WHERE (campaign_id = m.campaign_id OR order_id = m.order_id) AND booked_at >= m.since
                AND m.period_start = CASE m.period WHEN 'hour' THEN hour_start WHEN 'day' THEN day_start
                                                   ELSE to_timestamp(0) END
            OFFSET 0 -- Keeps one lookup for each budget: a join of both tables would read the whole ledger.
        ) AS l
    ), spent AS (
        SELECT budget_id, period, sum(amount) AS amount,
               sum(entries) FILTER (WHERE kind IN ('charge', 'settle')) AS ads
        FROM booked GROUP BY budget_id, period
    ), counted AS (
        SELECT m.*, coalesce(s.amount, 0) AS spent, open.held, coalesce(s.ads, 0) + open.ads AS ads
        FROM missing m LEFT JOIN spent s USING (budget_id, period)
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(h.price), 0) AS held, count(*) AS ads
            FROM holds h
            WHERE (h.campaign_id = m.campaign_id OR h.order_id = m.order_id)
                AND m.period_start = CASE m.period WHEN 'hour' THEN h.hour_start WHEN 'day' THEN h.day_start
                                                   ELSE to_timestamp(0) END
        ) AS open
    )
    INSERT INTO budget_tracking (campaign_id, order_id, period, period_start, "limit", impressions_limit, spent, held,
                                 impressions)
    SELECT campaign_id, order_id, period, period_start, budget_limit("limit", spent + held),
           budget_limit(impressions_limit, ads), spent, held, ads
    FROM counted ORDER BY budget_id, period
    ON CONFLICT DO NOTHING;
END
$function$;
REVOKE EXECUTE ON FUNCTION recount_budgets(text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION recount_budgets(text[]) TO adserver_app;

-- Rejects every change and removal of a row by anybody, except a repair, which it records.
CREATE FUNCTION public.refuse_change()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
AS $function$
BEGIN
    IF TG_NARGS = 0 AND TG_OP <> 'TRUNCATE' THEN
        IF repair_reason() IS NOT NULL THEN
            INSERT INTO book_repairs (repaired_at, repaired_by, reason, table_name, operation, old_row, new_row)
            VALUES (adserver_clock(), session_user, repair_reason(), TG_TABLE_NAME, TG_OP, to_jsonb(OLD), to_jsonb(NEW));
        ELSIF TG_OP <> 'DELETE' OR TG_TABLE_NAME <> 'spend_ledger_default' THEN
            RAISE EXCEPTION 'rows of % are never changed or removed: book a correction', TG_TABLE_NAME
                USING ERRCODE = 'insufficient_privilege';
        END IF;
        RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    RAISE EXCEPTION 'rows of % are never changed or removed, not even by a repair', TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$function$;
REVOKE EXECUTE ON FUNCTION refuse_change() FROM PUBLIC;

-- Rejects every new row of a closed month by anybody, except a repair, which it records.
CREATE FUNCTION public.refuse_closed_month()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
AS $function$
DECLARE
    its_month date := date_trunc('month', (to_jsonb(NEW) ->> TG_ARGV[0])::date);
BEGIN
    IF TG_NARGS > 1 OR its_month <= (SELECT max(month) FROM closed_months) THEN
        IF repair_reason() IS NULL THEN
            RAISE EXCEPTION 'the books of % are closed', to_char(its_month, 'YYYY-MM')
                USING ERRCODE = 'check_violation', CONSTRAINT = 'month_is_closed';
        END IF;
        INSERT INTO book_repairs (repaired_at, repaired_by, reason, table_name, operation, new_row)
        VALUES (adserver_clock(), session_user, repair_reason(), TG_TABLE_NAME, TG_OP, to_jsonb(NEW));
    END IF;
    RETURN NEW;
END
$function$;
REVOKE EXECUTE ON FUNCTION refuse_closed_month() FROM PUBLIC;

-- Rejects every change of an invoice, even by a superuser.
CREATE FUNCTION public.refuse_invoice_change()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    RAISE EXCEPTION 'invoices are never changed or removed: book a correction, and make a credit note'
        USING ERRCODE = 'insufficient_privilege';
END
$function$;
REVOKE EXECUTE ON FUNCTION refuse_invoice_change() FROM PUBLIC;

-- Rejects a line of an invoice that another transaction made.
CREATE FUNCTION public.refuse_later_invoice_detail()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'public', 'pg_temp'
AS $function$
BEGIN
    IF NOT EXISTS (
        SELECT FROM invoices i WHERE i.number = NEW.number AND i.xmin = pg_current_xact_id()::xid
    ) THEN
        RAISE EXCEPTION 'invoice % was already made: its lines are never changed', NEW.number
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$function$;
REVOKE EXECUTE ON FUNCTION refuse_later_invoice_detail() FROM PUBLIC;

-- The reason why the running transaction may repair the books; NULL if it may not.
CREATE FUNCTION public.repair_reason()
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'public', 'pg_temp'
RETURN CASE WHEN pg_has_role(SESSION_USER, (SELECT pg_class.relowner FROM pg_class WHERE (pg_class.oid = ('spend_ledger'::regclass)::oid)), 'MEMBER'::text) THEN NULLIF(btrim(current_setting('adserver.repair'::text, true)), ''::text) ELSE NULL::text END;

-- Moves the periods of an hour and a day back from budget_archive, so that a correction can change them.
CREATE FUNCTION public.restore_budget_periods(campaigns text[], hour_start timestamp with time zone, day_start timestamp with time zone)
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
BEGIN ATOMIC
 WITH back AS (
          DELETE FROM budget_archive a
           WHERE (((a.campaign_id)::text = ANY (restore_budget_periods.campaigns)) AND (((a.period = 'hour'::text) AND (a.period_start = restore_budget_periods.hour_start)) OR ((a.period = 'day'::text) AND (a.period_start = restore_budget_periods.day_start))))
           RETURNING a.campaign_id,
             a.period,
             a.period_start,
             a."limit",
             a.impressions_limit,
             a.spent,
             a.impressions
         )
  INSERT INTO budget_tracking (campaign_id, period, period_start, "limit", impressions_limit, spent, impressions)  SELECT back.campaign_id,
             back.period,
             back.period_start,
             back."limit",
             back.impressions_limit,
             back.spent,
             back.impressions
            FROM back
           ORDER BY back.campaign_id, back.period;
END;
REVOKE EXECUTE ON FUNCTION restore_budget_periods(text[],timestamp with time zone,timestamp with time zone) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION restore_budget_periods(text[],timestamp with time zone,timestamp with time zone) TO adserver_app;

-- An item as it is set up now, like an entry of a campaign file.
CREATE FUNCTION public.setup_item(its_kind text, its_id text)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'public', 'pg_temp'
AS $function$
DECLARE
    item jsonb;
BEGIN
    CASE its_kind
        WHEN 'advertiser' THEN
            SELECT to_jsonb(a) INTO item FROM advertisers a WHERE a.id = its_id;
        WHEN 'publisher' THEN
            SELECT to_jsonb(p) || jsonb_build_object('revenue_share', amount_text(p.revenue_share))
            INTO item FROM publishers p WHERE p.id = its_id;
        WHEN 'order' THEN
            SELECT to_jsonb(o) - 'advertiser_id' || jsonb_build_object(
                'advertiser', o.advertiser_id, 'budget', amount_text(o.budget),
                'limit', CASE WHEN b."limit" IS DISTINCT FROM o.budget THEN coalesce(amount_text(b."limit"), 'none') END,
                'impressions_limit', CASE WHEN b.impressions_limit IS DISTINCT FROM o.impressions
                                          THEN coalesce(b.impressions_limit::text, 'none') END)
            INTO item FROM orders o LEFT JOIN configured_budgets b ON b.budget_id = ' order ' || o.id
            WHERE o.id = its_id;
        WHEN 'upstream' THEN
            SELECT to_jsonb(u) INTO item FROM upstreams u WHERE u.id = its_id;
        WHEN 'campaign' THEN
            SELECT to_jsonb(c) - '{advertiser_id,order_id,price_model,unit_price}'::text[] || jsonb_build_object(
                'advertiser', c.advertiser_id, 'order', c.order_id,
                'cpm', CASE c.price_model WHEN 'cpm' THEN amount_text(c.price) END,
                'price', CASE WHEN c.price_model <> 'cpm'
                              THEN jsonb_build_object(c.price_model, amount_text(c.price)) END,
                'budgets', (
                    SELECT jsonb_object_agg(b.period, CASE WHEN b.impressions_limit IS NULL THEN to_jsonb(
                        amount_text(b."limit")) ELSE jsonb_build_object(
                        'amount', amount_text(b."limit"),
                        CASE c.price_model WHEN 'cpc' THEN 'clicks' WHEN 'cpcv' THEN 'completions'
                                           ELSE 'impressions' END, b.impressions_limit) END)
                    FROM configured_budgets b WHERE b.budget_id = c.id),
                'frequency_caps', (
                    SELECT jsonb_agg(to_jsonb(k) - '{campaign_id,window,counter,counts_from}'::text[] || jsonb_build_object(
                            'level', nullif(k.level, 'campaign'),
                            CASE WHEN k."window" ~ '^[0-9]' THEN 'every' ELSE 'per' END, k."window")
                        ORDER BY k.level, k."window")
                    FROM campaign_caps k WHERE k.campaign_id = c.id),
                'upstreams', (
                    SELECT jsonb_agg(u.upstream_id ORDER BY u.position)
                    FROM campaign_upstreams u WHERE u.campaign_id = c.id))
            INTO item FROM campaigns c WHERE c.id = its_id;
        WHEN 'creative' THEN
            SELECT to_jsonb(r) - 'vast_elements' || r.vast_elements INTO item FROM creatives r WHERE r.id = its_id;
        WHEN 'placement' THEN
            SELECT to_jsonb(p) - 'targeted' || jsonb_build_object('campaigns', CASE WHEN p.targeted THEN '"targeted"' ELSE (
                SELECT jsonb_agg(c.campaign_id ORDER BY c.position)
                FROM placement_campaigns c WHERE c.placement_id = p.id) END)
            INTO item FROM placements p WHERE p.id = its_id;
        WHEN 'webhook' THEN
            SELECT to_jsonb(w) || jsonb_build_object(
                'secret', 'SHA-256 ' || left(encode(sha256(convert_to(w.secret, 'UTF8')), 'hex'), 16))
            INTO item FROM webhooks w WHERE w.id = its_id;
    END CASE;
    RETURN jsonb_strip_nulls(item);
END
$function$;
REVOKE EXECUTE ON FUNCTION setup_item(text,text) FROM PUBLIC;

-- Sets recorded_by and recorded_at, so that nobody can record under another name.
CREATE FUNCTION public.stamp_author()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'public', 'pg_temp'
AS $function$
BEGIN
    NEW.recorded_by := session_user;
    NEW.recorded_at := adserver_clock();
    RETURN NEW;
END
$function$;

-- Sets closed_by and closed_at, so that nobody can close under another name.
CREATE FUNCTION public.stamp_closing()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'public', 'pg_temp'
AS $function$
BEGIN
    NEW.closed_by := session_user;
    NEW.closed_at := adserver_clock();
    RETURN NEW;
END
$function$;

-- End of the window that begins at a moment; NULL if it never ends.
CREATE FUNCTION public.window_end("window" text, start timestamp with time zone, timezone text)
 RETURNS timestamp with time zone
 LANGUAGE sql
 STABLE PARALLEL SAFE
RETURN CASE "window" WHEN 'minute'::text THEN (start + '00:01:00'::interval) WHEN 'hour'::text THEN (start + '01:00:00'::interval) WHEN 'day'::text THEN date_trunc('day'::text, date_add(start, '1 day'::interval, timezone), timezone) WHEN 'week'::text THEN date_trunc('week'::text, date_add(start, '7 days'::interval, timezone), timezone) WHEN 'month'::text THEN date_trunc('month'::text, date_add(start, '1 mon'::interval, timezone), timezone) ELSE NULL::timestamp with time zone END;

-- Start of the window that contains a moment, in the campaign's time zone.
CREATE FUNCTION public.window_start("window" text, at timestamp with time zone, timezone text)
 RETURNS timestamp with time zone
 LANGUAGE sql
 STABLE PARALLEL SAFE
RETURN CASE "window" WHEN 'minute'::text THEN date_trunc('minute'::text, at) WHEN 'hour'::text THEN date_trunc('hour'::text, at, 'UTC'::text) WHEN 'day'::text THEN date_trunc('day'::text, at, timezone) WHEN 'week'::text THEN date_trunc('week'::text, at, timezone) WHEN 'month'::text THEN date_trunc('month'::text, at, timezone) ELSE to_timestamp((0)::double precision) END;


-- ====================================================================================================
-- The schema finance.

-- Views for finance whose columns are a contract, version 2.0.
CREATE SCHEMA finance;
GRANT USAGE ON SCHEMA finance TO adserver_app;
GRANT USAGE ON SCHEMA finance TO adserver_finance;

-- finance.advertiser_spend_monthly: Spend by advertiser, month in the campaigns' time zones, and currency.
--   advertiser_id character varying: Advertiser
--   advertiser text: Name of the advertiser on the day of its last entry of the month
--   month date: First day of the month
--   currency character varying(3): Currency of every amount; one row for each, because currencies are never added together
--   campaigns bigint: Number of campaigns with entries in the month
--   delivered numeric: Charged for ads
--   corrected numeric: Adjustments and reversals
--   spent numeric: delivered + corrected: the amount to be paid
--   impressions bigint: Number of ads charged
--   reversed bigint: Number of ads whose charge was taken back
--   billable bigint: impressions - reversed
CREATE VIEW finance.advertiser_spend_monthly AS
 SELECT advertiser_id,
    (array_agg(advertiser_name ORDER BY booked_on DESC, recorded_on DESC, advertiser_name))[1] AS advertiser,
    date_trunc('month'::text, booked_on::timestamp with time zone)::date AS month,
    currency,
    count(DISTINCT campaign_id) AS campaigns,
    COALESCE(sum(amount) FILTER (WHERE kind = ANY (ARRAY['charge'::text, 'settle'::text, 'flat'::text])), 0::numeric) AS delivered,
    COALESCE(sum(amount) FILTER (WHERE kind = ANY (ARRAY['adjustment'::text, 'reversal'::text])), 0::numeric) AS corrected,
    COALESCE(sum(amount), 0::numeric) AS spent,
    COALESCE(sum(ads) FILTER (WHERE kind = ANY (ARRAY['charge'::text, 'settle'::text])), 0::numeric)::bigint AS impressions,
    COALESCE(sum(ads) FILTER (WHERE kind = 'reversal'::text), 0::numeric)::bigint AS reversed,
    COALESCE(sum(
        CASE
            WHEN kind = ANY (ARRAY['charge'::text, 'settle'::text]) THEN ads
            WHEN kind = 'reversal'::text THEN - ads
            ELSE NULL::bigint
        END), 0::numeric)::bigint AS billable
   FROM ( SELECT spend_daily.booked_on,
            spend_daily.recorded_on,
            spend_daily.order_id,
            spend_daily.advertiser_id,
            spend_daily.advertiser_name,
            spend_daily.campaign_id,
            spend_daily.publisher_id,
            spend_daily.publisher_name,
            spend_daily.currency,
            spend_daily.kind,
            spend_daily.amount,
            spend_daily.publisher_amount,
            spend_daily.ads
           FROM spend_daily
        UNION ALL
         SELECT spend_ledger.booked_on,
            (spend_ledger.booked_at AT TIME ZONE 'UTC'::text)::date AS timezone,
            spend_ledger.order_id,
            spend_ledger.advertiser_id,
            spend_ledger.advertiser_name,
            spend_ledger.campaign_id,
            spend_ledger.publisher_id,
            spend_ledger.publisher_name,
            spend_ledger.currency,
            spend_ledger.kind,
            spend_ledger.amount,
            spend_ledger.publisher_amount,
            num_nonnulls(spend_ledger.request_key) AS num_nonnulls
           FROM spend_ledger
          WHERE spend_ledger.booked_at >= (( SELECT books_state.rolled_up_to
                   FROM books_state))) d
  GROUP BY advertiser_id, (date_trunc('month'::text, booked_on::timestamp with time zone)::date), currency;
GRANT SELECT ON finance.advertiser_spend_monthly TO adserver_app;
GRANT SELECT ON finance.advertiser_spend_monthly TO adserver_finance;

-- finance.book_repairs: Every row of the books that was changed by a repair.
--   repair_id bigint: Number of the repair
--   repaired_at timestamp with time zone: When the row was changed
--   repaired_by text: Database role that changed it
--   reason text: Reason that it gave
--   table_name text: Table, or partition of the ledger
--   operation text: INSERT, UPDATE or DELETE
--   old_row jsonb: The row before; NULL for an INSERT
--   new_row jsonb: The row after; NULL for a DELETE
CREATE VIEW finance.book_repairs AS
 SELECT repair_id,
    repaired_at,
    repaired_by,
    reason,
    table_name,
    operation,
    old_row,
    new_row
   FROM book_repairs;
GRANT SELECT ON finance.book_repairs TO adserver_app;
GRANT SELECT ON finance.book_repairs TO adserver_finance;

-- finance.budgets: Budget against actual: every budget period of every campaign and order.
--   campaign_id character varying: Campaign; NULL for the budget of an order
--   order_id character varying: Order; NULL for the budget of a campaign
--   advertiser text: Advertiser, who pays
--   period text: hour, day or lifetime
--   period_start timestamp with time zone: Start of the period; 1970 for lifetime
--   currency character varying(3): Currency of every amount
--   limit numeric(18,6): Amount that may be spent in this period; NULL for no limit
--   spent numeric(18,6): Charged so far
--   held numeric: Held for ads that were served and not yet billed
--   remaining numeric: limit - spent - held
--   percentage_spent numeric: spent in percent of limit; held is not included
--   even_pace numeric: Amount that would be spent by now if spend grew evenly
--   running boolean: Whether the period is the current one
--   impressions bigint: Number of ads charged or held; of a campaign that is sold by click or completed view, the number of those
--   impressions_limit bigint: Number of ads that may be served in this period; NULL for no limit
--   impressions_remaining bigint: impressions_limit - impressions
CREATE VIEW finance.budgets AS
 SELECT t.campaign_id,
    t.order_id,
    a.name AS advertiser,
    t.period,
    t.period_start,
    o.currency,
    l."limit",
    t.spent,
    t.held,
    l."limit" - t.spent - t.held AS remaining,
    percentage_spent(t.spent, l."limit") AS percentage_spent,
    budget_pace(l."limit", t.period, t.period_start, 'even'::text, NULL::smallint, o.starts_at, o.ends_at, o.timezone) AS even_pace,
    r.running,
    t.impressions,
    l.impressions_limit,
    l.impressions_limit - t.impressions AS impressions_remaining
   FROM ( SELECT budget_tracking.budget_id,
            budget_tracking.campaign_id,
            budget_tracking.order_id,
            budget_tracking.period,
            budget_tracking.period_start,
            budget_tracking."limit",
            budget_tracking.impressions_limit,
            budget_tracking.spent,
            budget_tracking.held,
            budget_tracking.impressions
           FROM budget_tracking
        UNION ALL
         SELECT budget_archive.campaign_id,
            budget_archive.campaign_id,
            NULL::character varying,
            budget_archive.period,
            budget_archive.period_start,
            budget_archive."limit",
            budget_archive.impressions_limit,
            budget_archive.spent,
            0,
            budget_archive.impressions
           FROM budget_archive) t
     JOIN ( SELECT campaigns.id AS budget_id,
            campaigns.advertiser_id,
            campaigns.currency,
            campaigns.starts_at,
            campaigns.ends_at,
            campaigns.timezone
           FROM campaigns
        UNION ALL
         SELECT ' order '::text || orders.id::text,
            orders.advertiser_id,
            orders.currency,
            orders.starts_at,
            orders.ends_at,
            'UTC'::text
           FROM orders) o USING (budget_id)
     JOIN advertisers a ON a.id::text = o.advertiser_id::text
     CROSS JOIN LATERAL ( SELECT t.period_start = window_start(t.period, adserver_clock(), o.timezone) AS running) r
     LEFT JOIN configured_budgets b ON r.running AND b.budget_id::text = t.budget_id::text AND b.period = t.period
     CROSS JOIN LATERAL ( SELECT
                CASE
                    WHEN b.period IS NULL THEN t."limit"
                    ELSE budget_limit(b."limit", t.spent + t.held)
                END::numeric(18,6) AS "limit",
                CASE
                    WHEN b.period IS NULL THEN t.impressions_limit::numeric
                    ELSE budget_limit(b.impressions_limit::numeric, t.impressions::numeric)
                END::bigint AS impressions_limit) l;
GRANT SELECT ON finance.budgets TO adserver_app;
GRANT SELECT ON finance.budgets TO adserver_finance;

-- finance.campaign_spend: Total spend of every campaign, one row for each campaign.
--   campaign_id character varying: Campaign
--   advertiser text: Advertiser, who pays
--   currency character varying(3): Currency of every amount
--   status text: active, paused or ended
--   delivered numeric: Charged for ads
--   corrected numeric: Adjustments and reversals
--   spent numeric: delivered + corrected: the amount to be paid
--   impressions bigint: Number of ads charged
--   reversed bigint: Number of ads whose charge was taken back
--   billable bigint: impressions - reversed
--   held numeric: Held for ads that were served and not yet billed
--   open_holds bigint: Number of those ads
CREATE VIEW finance.campaign_spend AS
 SELECT c.id AS campaign_id,
    c.advertiser,
    c.currency,
    c.status,
    COALESCE(sum(d.amount) FILTER (WHERE d.kind = ANY (ARRAY['charge'::text, 'settle'::text, 'flat'::text])), 0::numeric) AS delivered,
    COALESCE(sum(d.amount) FILTER (WHERE d.kind = ANY (ARRAY['adjustment'::text, 'reversal'::text])), 0::numeric) AS corrected,
    COALESCE(sum(d.amount), 0::numeric) AS spent,
    COALESCE(sum(d.ads) FILTER (WHERE d.kind = ANY (ARRAY['charge'::text, 'settle'::text])), 0::numeric)::bigint AS impressions,
    COALESCE(sum(d.ads) FILTER (WHERE d.kind = 'reversal'::text), 0::numeric)::bigint AS reversed,
    COALESCE(sum(
        CASE
            WHEN d.kind = ANY (ARRAY['charge'::text, 'settle'::text]) THEN d.ads
            WHEN d.kind = 'reversal'::text THEN - d.ads
            ELSE NULL::bigint
        END), 0::numeric)::bigint AS billable,
    COALESCE(h.held, 0::numeric) AS held,
    COALESCE(h.holds, 0::bigint) AS open_holds
   FROM campaigns c
     LEFT JOIN ( SELECT spend_daily.booked_on,
            spend_daily.recorded_on,
            spend_daily.order_id,
            spend_daily.advertiser_id,
            spend_daily.advertiser_name,
            spend_daily.campaign_id,
            spend_daily.publisher_id,
            spend_daily.publisher_name,
            spend_daily.currency,
            spend_daily.kind,
            spend_daily.amount,
            spend_daily.publisher_amount,
            spend_daily.ads
           FROM spend_daily
        UNION ALL
         SELECT spend_ledger.booked_on,
            (spend_ledger.booked_at AT TIME ZONE 'UTC'::text)::date AS timezone,
            spend_ledger.order_id,
            spend_ledger.advertiser_id,
            spend_ledger.advertiser_name,
            spend_ledger.campaign_id,
            spend_ledger.publisher_id,
            spend_ledger.publisher_name,
            spend_ledger.currency,
            spend_ledger.kind,
            spend_ledger.amount,
            spend_ledger.publisher_amount,
            num_nonnulls(spend_ledger.request_key) AS num_nonnulls
           FROM spend_ledger
          WHERE spend_ledger.booked_at >= (( SELECT books_state.rolled_up_to
                   FROM books_state))) d ON d.campaign_id::text = c.id::text AND d.currency::text = c.currency::text
     LEFT JOIN ( SELECT holds.campaign_id,
            sum(holds.price) AS held,
            count(*) AS holds
           FROM holds
          GROUP BY holds.campaign_id) h ON h.campaign_id::text = c.id::text
  GROUP BY c.id, h.held, h.holds;
GRANT SELECT ON finance.campaign_spend TO adserver_app;
GRANT SELECT ON finance.campaign_spend TO adserver_finance;

-- finance.campaign_spend_daily: Spend by campaign, day in the campaign's time zone, and currency.
--   campaign_id character varying: Campaign
--   advertiser text: Advertiser, who pays
--   day date: Day in the campaign's time zone on which the entries are booked
--   currency character varying(3): Currency of every amount
--   delivered numeric: Charged for ads
--   corrected numeric: Adjustments and reversals
--   spent numeric: delivered + corrected: the amount to be paid
--   impressions bigint: Number of ads charged
--   reversed bigint: Number of ads whose charge was taken back
--   billable bigint: impressions - reversed
CREATE VIEW finance.campaign_spend_daily AS
 SELECT campaign_id,
    (array_agg(advertiser_name ORDER BY booked_on DESC, recorded_on DESC, advertiser_name))[1] AS advertiser,
    booked_on AS day,
    currency,
    COALESCE(sum(amount) FILTER (WHERE kind = ANY (ARRAY['charge'::text, 'settle'::text, 'flat'::text])), 0::numeric) AS delivered,
    COALESCE(sum(amount) FILTER (WHERE kind = ANY (ARRAY['adjustment'::text, 'reversal'::text])), 0::numeric) AS corrected,
    COALESCE(sum(amount), 0::numeric) AS spent,
    COALESCE(sum(ads) FILTER (WHERE kind = ANY (ARRAY['charge'::text, 'settle'::text])), 0::numeric)::bigint AS impressions,
    COALESCE(sum(ads) FILTER (WHERE kind = 'reversal'::text), 0::numeric)::bigint AS reversed,
    COALESCE(sum(
        CASE
            WHEN kind = ANY (ARRAY['charge'::text, 'settle'::text]) THEN ads
            WHEN kind = 'reversal'::text THEN - ads
            ELSE NULL::bigint
        END), 0::numeric)::bigint AS billable
   FROM ( SELECT spend_daily.booked_on,
            spend_daily.recorded_on,
            spend_daily.order_id,
            spend_daily.advertiser_id,
            spend_daily.advertiser_name,
            spend_daily.campaign_id,
            spend_daily.publisher_id,
            spend_daily.publisher_name,
            spend_daily.currency,
            spend_daily.kind,
            spend_daily.amount,
            spend_daily.publisher_amount,
            spend_daily.ads
           FROM spend_daily
        UNION ALL
         SELECT spend_ledger.booked_on,
            (spend_ledger.booked_at AT TIME ZONE 'UTC'::text)::date AS timezone,
            spend_ledger.order_id,
            spend_ledger.advertiser_id,
            spend_ledger.advertiser_name,
            spend_ledger.campaign_id,
            spend_ledger.publisher_id,
            spend_ledger.publisher_name,
            spend_ledger.currency,
            spend_ledger.kind,
            spend_ledger.amount,
            spend_ledger.publisher_amount,
            num_nonnulls(spend_ledger.request_key) AS num_nonnulls
           FROM spend_ledger
          WHERE spend_ledger.booked_at >= (( SELECT books_state.rolled_up_to
                   FROM books_state))) d
  GROUP BY campaign_id, booked_on, currency;
GRANT SELECT ON finance.campaign_spend_daily TO adserver_app;
GRANT SELECT ON finance.campaign_spend_daily TO adserver_finance;

-- finance.campaigns: Every campaign: its terms, what was booked, and what remains.
--   campaign_id character varying: Campaign
--   order_id character varying: Order whose budget the campaign shares; NULL for none
--   advertiser_id character varying: Advertiser, who pays
--   advertiser text: Name of the advertiser
--   status text: active, paused or ended
--   currency character varying(3): Currency of every amount
--   timezone text: Time zone in which its days and months begin
--   starts_at timestamp with time zone: Start of the flight
--   ends_at timestamp with time zone: End of the flight, exclusive
--   cpm numeric(15,3): Price of a thousand ads; NULL if the price is for something else
--   price_model text: What the price is for: cpm, a thousand ads; cpc, a click; cpcv, a completed view; flat, the flight
--   price numeric(18,6): Price, as its model says
--   billing text: Event that charges for an ad: serve, impression, click or complete
--   pacing text: asap; even: spend may grow linearly with time; or front: ahead of that
--   front_percent smallint: Percent by which spend may be ahead of even pacing; NULL unless front
--   hour_budget numeric: Amount that may be spent in an hour; NULL for no limit
--   day_budget numeric: Amount that may be spent in a day; NULL for no limit
--   lifetime_budget numeric(18,6): Amount that may be spent at all; NULL for no limit
--   hour_impressions bigint: Number of ads that may be served in an hour; NULL for no limit
--   day_impressions bigint: Number of ads that may be served in a day; NULL for no limit
--   lifetime_impressions bigint: Number of ads that may be served at all; NULL for no limit
--   delivered numeric: Charged for ads
--   corrected numeric: Adjustments and reversals
--   booked numeric: delivered + corrected: the amount to be paid
--   held numeric: Held for ads that were served and not yet billed
--   remaining numeric: What may still be spent of the lifetime budget; NULL for no limit
--   impressions bigint: Number of ads charged
--   reversed bigint: Number of ads whose charge was taken back
--   billable bigint: impressions - reversed
--   open_holds bigint: Number of ads that were served and not yet billed
--   impressions_remaining bigint: Number of ads that may still be served; NULL for no limit
CREATE VIEW finance.campaigns AS
 SELECT c.id AS campaign_id,
    c.order_id,
    c.advertiser_id,
    a.name AS advertiser,
    c.status,
    c.currency,
    c.timezone,
    c.starts_at,
    c.ends_at,
        CASE c.price_model
            WHEN 'cpm'::text THEN c.price
            ELSE NULL::numeric
        END::numeric(15,3) AS cpm,
    c.price_model,
    c.price,
    c.billing,
    c.pacing,
    c.front_percent,
    b.hour_budget,
    b.day_budget,
    l."limit" AS lifetime_budget,
    b.hour_impressions,
    b.day_impressions,
    l.impressions_limit AS lifetime_impressions,
    COALESCE(d.delivered, 0::numeric) AS delivered,
    COALESCE(d.corrected, 0::numeric) AS corrected,
    u.booked,
    u.held,
    budget_limit(l."limit", u.booked + u.held) - u.booked - u.held AS remaining,
    u.impressions,
    COALESCE(d.reversed, 0::bigint) AS reversed,
    u.impressions - COALESCE(d.reversed, 0::bigint) AS billable,
    u.open_holds,
    (budget_limit(l.impressions_limit::numeric, (u.impressions + u.open_holds)::numeric) - u.impressions::numeric - u.open_holds::numeric)::bigint AS impressions_remaining
   FROM campaigns c
     JOIN advertisers a ON a.id::text = c.advertiser_id::text
     CROSS JOIN LATERAL ( SELECT max(configured_budgets."limit") FILTER (WHERE configured_budgets.period = 'hour'::text) AS hour_budget,
            max(configured_budgets."limit") FILTER (WHERE configured_budgets.period = 'day'::text) AS day_budget,
            max(configured_budgets.impressions_limit) FILTER (WHERE configured_budgets.period = 'hour'::text) AS hour_impressions,
            max(configured_budgets.impressions_limit) FILTER (WHERE configured_budgets.period = 'day'::text) AS day_impressions
           FROM configured_budgets
          WHERE configured_budgets.budget_id::text = c.id::text) b
     LEFT JOIN configured_budgets l ON l.budget_id::text = c.id::text AND l.period = 'lifetime'::text
     LEFT JOIN ( SELECT daily.campaign_id,
            COALESCE(sum(daily.amount) FILTER (WHERE daily.kind = ANY (ARRAY['charge'::text, 'settle'::text, 'flat'::text])), 0::numeric) AS delivered,
            COALESCE(sum(daily.amount) FILTER (WHERE daily.kind = ANY (ARRAY['adjustment'::text, 'reversal'::text])), 0::numeric) AS corrected,
            sum(daily.amount) AS booked,
            COALESCE(sum(daily.ads) FILTER (WHERE daily.kind = ANY (ARRAY['charge'::text, 'settle'::text])), 0::numeric)::bigint AS impressions,
            COALESCE(sum(daily.ads) FILTER (WHERE daily.kind = 'reversal'::text), 0::numeric)::bigint AS reversed
           FROM ( SELECT spend_daily.booked_on,
                    spend_daily.recorded_on,
                    spend_daily.order_id,
                    spend_daily.campaign_id,
                    spend_daily.publisher_id,
                    spend_daily.publisher_name,
                    spend_daily.currency,
                    spend_daily.kind,
                    spend_daily.amount,
                    spend_daily.publisher_amount,
                    spend_daily.ads
                   FROM spend_daily
                UNION ALL
                 SELECT spend_ledger.booked_on,
                    (spend_ledger.booked_at AT TIME ZONE 'UTC'::text)::date AS timezone,
                    spend_ledger.order_id,
                    spend_ledger.campaign_id,
                    spend_ledger.publisher_id,
                    spend_ledger.publisher_name,
                    spend_ledger.currency,
                    spend_ledger.kind,
                    spend_ledger.amount,
                    spend_ledger.publisher_amount,
                    num_nonnulls(spend_ledger.request_key) AS num_nonnulls
                   FROM spend_ledger
                  WHERE spend_ledger.booked_at >= (( SELECT books_state.rolled_up_to
                           FROM books_state))) daily
          WHERE daily.campaign_id IS NOT NULL
          GROUP BY daily.campaign_id) d ON d.campaign_id::text = c.id::text
     LEFT JOIN ( SELECT holds.campaign_id,
            sum(holds.price) AS held,
            count(*) AS open_holds
           FROM holds
          GROUP BY holds.campaign_id) h ON h.campaign_id::text = c.id::text
     CROSS JOIN LATERAL ( SELECT COALESCE(d.booked, 0::numeric) AS booked,
            COALESCE(h.held, 0::numeric) AS held,
            COALESCE(d.impressions, 0::bigint) AS impressions,
            COALESCE(h.open_holds, 0::bigint) AS open_holds) u;
GRANT SELECT ON finance.campaigns TO adserver_app;
GRANT SELECT ON finance.campaigns TO adserver_finance;

-- finance.closed_months: Months that accept no more entries.
--   month date: First day of the month
--   closed_at timestamp with time zone: When the month was closed
--   closed_by text: Database role that closed the month
--   entries bigint: Number of entries in the month
--   hash text: SHA-256 of the entries, corrections and figures of the month; docs/finance.md has the formula
--   previous_hash text: Hash of the month closed before this one
--   archived boolean: Whether its entries were moved to an archive, which has the same hash in its manifest
CREATE VIEW finance.closed_months AS
 SELECT month,
    closed_at,
    closed_by,
    entries,
    encode(hash, 'hex'::text) AS hash,
    encode(previous_hash, 'hex'::text) AS previous_hash,
    (EXISTS ( SELECT
           FROM archived_months a
          WHERE a.month = c.month)) AS archived
   FROM closed_months c;
GRANT SELECT ON finance.closed_months TO adserver_app;
GRANT SELECT ON finance.closed_months TO adserver_finance;

-- finance.correction_sets: Sets of entries that were reversed under one key; finance.corrections has the reversal of each.
--   idempotency_key character varying: Chosen by the caller; repeating it completes the set, and books nothing twice
--   selection text: How the entries were selected: by conditions, or by a list with this SHA-256
--   reason text: Reason of the reversals
--   recorded_at timestamp with time zone: When the set was recorded
--   recorded_by text: Database role that recorded the set
--   entries integer: Number of entries in the set
--   reversed bigint: Number of entries that the set has reversed
--   skipped bigint: Number of entries that another correction has reversed
--   remaining bigint: Number of entries that are not reversed yet; 0 once the set is complete
CREATE VIEW finance.correction_sets AS
 SELECT s.idempotency_key,
    s.selection,
    s.reason,
    s.recorded_at,
    s.recorded_by,
    s.entries,
    n.reversed,
    n.skipped,
    s.entries - n.reversed - n.skipped AS remaining
   FROM correction_sets s
     CROSS JOIN LATERAL ( SELECT count(k.entry_id) FILTER (WHERE k.set_entry IS NOT NULL AND k.idempotency_key::text = s.idempotency_key::text) AS reversed,
            count(k.entry_id) FILTER (WHERE k.set_entry IS NULL OR k.idempotency_key::text <> s.idempotency_key::text) AS skipped
           FROM correction_set_entries e
             LEFT JOIN ledger_corrections k ON k.reverses = e.entry_id
          WHERE e.idempotency_key::text = s.idempotency_key::text) n;
GRANT SELECT ON finance.correction_sets TO adserver_app;
GRANT SELECT ON finance.correction_sets TO adserver_finance;

-- finance.corrections: Adjustments and reversals, with the role that booked them and the reason.
--   entry_id bigint: Entry of the ledger
--   booked_on date: Day of the entry
--   recorded_at timestamp with time zone: When the correction was made
--   recorded_by text: Database role that made the correction
--   kind text: adjustment or reversal
--   campaign_id character varying: Campaign
--   advertiser text: Advertiser, who pays
--   amount numeric(18,6): Amount added to what is spent
--   currency character varying(3): Currency of the amount
--   reason text: Reason of the correction
--   reverses bigint: Entry that a reversal takes back
--   idempotency_key character varying: Chosen by the caller; repeating it books nothing more
CREATE VIEW finance.corrections AS
 SELECT k.entry_id,
    k.booked_on,
    k.recorded_at,
    k.recorded_by,
    k.kind,
    k.campaign_id,
    l.advertiser_name AS advertiser,
    k.amount,
    k.currency,
    k.reason,
    k.reverses,
    k.idempotency_key
   FROM ledger_corrections k
     JOIN spend_ledger l ON l.entry_id = k.entry_id AND l.booked_on = k.booked_on;
GRANT SELECT ON finance.corrections TO adserver_app;
GRANT SELECT ON finance.corrections TO adserver_finance;

-- finance.delivery_daily: Ads served and seen by UTC day; days that retention has dropped are missing.
--   served_on date: UTC day
--   campaign_id character varying: Campaign
--   advertiser text: Advertiser, who pays
--   placement_id character varying: Placement; NULL if the request named the campaign
--   publisher_id character varying: Publisher of the placement
--   currency character varying(3): Currency of the campaign
--   serves bigint: Number of ads served
--   seen bigint: Number of ads whose impression was reported
--   seen_percentage numeric: seen in percent of serves
CREATE VIEW finance.delivery_daily AS
 SELECT s.served_on,
    s.campaign_id,
    c.advertiser,
    s.placement_id,
    s.publisher_id,
    s.currency,
    count(*) AS serves,
    count(e.request_key) AS seen,
    round(count(e.request_key)::numeric * 100.0 / count(*)::numeric, 2) AS seen_percentage
   FROM ad_serves s
     JOIN campaigns c ON c.id::text = s.campaign_id::text
     LEFT JOIN ad_events e ON e.request_key = s.request_key AND e.slot = s.slot AND e.served_on = s.served_on AND e.event = 'impression'::text
  GROUP BY s.served_on, s.campaign_id, c.advertiser, s.placement_id, s.publisher_id, s.currency;
GRANT SELECT ON finance.delivery_daily TO adserver_app;
GRANT SELECT ON finance.delivery_daily TO adserver_finance;

-- finance.delivery_hourly: What was delivered, by UTC hour: each thing counts in the hour in which it happened, so an ad served at 10:59 and seen at 11:00 is a serve of 10:00 and seen at 11:00. Ad requests have rows of their own, without a campaign. Hours are kept as long as serves are.
--   hour timestamp with time zone: Start of the hour
--   campaign_id character varying: Campaign; NULL for ad requests, which have none before an ad is served
--   creative_id character varying: The campaign's own creative; NULL for an upstream's ad, and for an adjustment
--   placement_id character varying: Placement; NULL if the request named the campaign, and for an adjustment
--   publisher_id character varying: Publisher of the placement
--   country text: Country of the viewer, an ISO 3166-1 alpha-2 code; NULL if unknown
--   device_type text: Device type of the viewer; NULL if unknown
--   currency character varying: Currency of the amounts; NULL for ad requests
--   requests bigint: Number of ad requests, without repeated ones; 0 in rows with a campaign
--   serves bigint: Number of ads served
--   seen bigint: Number of ads whose impression was reported
--   first_quartile bigint: Number of ads of which the first quarter was played
--   midpoint bigint: Number of ads of which half was played
--   third_quartile bigint: Number of ads of which three quarters were played
--   completed bigint: Number of ads that were played to the end
--   clicks bigint: Number of ads that were clicked
--   errors bigint: Number of ads that the player reported as failed
--   late bigint: Number of impressions, part of seen, whose hold had been released
--   expired bigint: Number of holds that were released because no impression came in time
--   reversed bigint: Number of ads whose charge was taken back
--   invalid bigint: Number of ads found to be invalid traffic; 0, because none is detected yet
--   charged numeric: Amount charged for ads, of the ledger entries that were booked in the hour
--   corrected numeric: Amount of adjustments and reversals that were booked in the hour
CREATE VIEW finance.delivery_hourly AS
 SELECT d.hour,
    d.campaign_id,
    d.creative_id,
    d.placement_id,
    d.publisher_id,
    d.country,
    d.device_type,
    c.currency,
    0::bigint AS requests,
    d.serves,
    d.seen,
    d.first_quartile,
    d.midpoint,
    d.third_quartile,
    d.completed,
    d.clicks,
    d.errors,
    d.late,
    d.expired,
    d.reversed,
    0::bigint AS invalid,
    d.charged::numeric(18,6) AS charged,
    d.corrected::numeric(18,6) AS corrected
   FROM ( SELECT delivery_hourly.hour,
            delivery_hourly.campaign_id,
            delivery_hourly.creative_id,
            delivery_hourly.placement_id,
            delivery_hourly.publisher_id,
            delivery_hourly.country,
            delivery_hourly.device_type,
            delivery_hourly.serves,
            delivery_hourly.seen,
            delivery_hourly.first_quartile,
            delivery_hourly.midpoint,
            delivery_hourly.third_quartile,
            delivery_hourly.completed,
            delivery_hourly.clicks,
            delivery_hourly.errors,
            delivery_hourly.late,
            delivery_hourly.expired,
            delivery_hourly.reversed,
            delivery_hourly.charged,
            delivery_hourly.corrected
           FROM delivery_hourly
          WHERE delivery_hourly.hour < (( SELECT date_trunc('hour'::text, delivery_state.rolled_up_to, 'UTC'::text) AS date_trunc
                   FROM delivery_state))
        UNION ALL
         SELECT open.hour,
            open.campaign_id,
            open.creative_id,
            open.placement_id,
            open.publisher_id,
            open.country,
            open.device_type,
            sum(open.serves)::bigint AS serves,
            sum(open.seen)::bigint AS seen,
            sum(open.first_quartile)::bigint AS first_quartile,
            sum(open.midpoint)::bigint AS midpoint,
            sum(open.third_quartile)::bigint AS third_quartile,
            sum(open.completed)::bigint AS completed,
            sum(open.clicks)::bigint AS clicks,
            sum(open.errors)::bigint AS errors,
            sum(open.late)::bigint AS late,
            sum(open.expired)::bigint AS expired,
            sum(open.reversed)::bigint AS reversed,
            sum(open.charged) AS charged,
            sum(open.corrected) AS corrected
           FROM ( SELECT delivery_hourly.hour,
                    delivery_hourly.campaign_id,
                    delivery_hourly.creative_id,
                    delivery_hourly.placement_id,
                    delivery_hourly.publisher_id,
                    delivery_hourly.country,
                    delivery_hourly.device_type,
                    delivery_hourly.serves,
                    delivery_hourly.seen,
                    delivery_hourly.first_quartile,
                    delivery_hourly.midpoint,
                    delivery_hourly.third_quartile,
                    delivery_hourly.completed,
                    delivery_hourly.clicks,
                    delivery_hourly.errors,
                    delivery_hourly.late,
                    delivery_hourly.expired,
                    delivery_hourly.reversed,
                    delivery_hourly.charged,
                    delivery_hourly.corrected
                   FROM delivery_hourly
                  WHERE delivery_hourly.hour >= (( SELECT date_trunc('hour'::text, delivery_state.rolled_up_to, 'UTC'::text) AS date_trunc
                           FROM delivery_state))
                UNION ALL
                 SELECT compute_delivery.hour,
                    compute_delivery.campaign_id,
                    compute_delivery.creative_id,
                    compute_delivery.placement_id,
                    compute_delivery.publisher_id,
                    compute_delivery.country,
                    compute_delivery.device_type,
                    compute_delivery.serves,
                    compute_delivery.seen,
                    compute_delivery.first_quartile,
                    compute_delivery.midpoint,
                    compute_delivery.third_quartile,
                    compute_delivery.completed,
                    compute_delivery.clicks,
                    compute_delivery.errors,
                    compute_delivery.late,
                    compute_delivery.expired,
                    compute_delivery.reversed,
                    compute_delivery.charged,
                    compute_delivery.corrected
                   FROM finance.compute_delivery(( SELECT delivery_state.rolled_up_to
                           FROM delivery_state), 'infinity'::timestamp with time zone) compute_delivery(hour, campaign_id, creative_id, placement_id, publisher_id, country, device_type, serves, seen, first_quartile, midpoint, third_quartile, completed, clicks, errors, late, expired, reversed, charged, corrected)) open
          GROUP BY open.hour, open.campaign_id, open.creative_id, open.placement_id, open.publisher_id, open.country, open.device_type) d
     JOIN campaigns c ON c.id::text = d.campaign_id::text
UNION ALL
 SELECT requests_hourly.hour,
    NULL::character varying AS campaign_id,
    NULL::character varying AS creative_id,
    requests_hourly.placement_id,
    requests_hourly.publisher_id,
    requests_hourly.country,
    requests_hourly.device_type,
    NULL::character varying AS currency,
    requests_hourly.requests,
    0 AS serves,
    0 AS seen,
    0 AS first_quartile,
    0 AS midpoint,
    0 AS third_quartile,
    0 AS completed,
    0 AS clicks,
    0 AS errors,
    0 AS late,
    0 AS expired,
    0 AS reversed,
    0 AS invalid,
    0 AS charged,
    0 AS corrected
   FROM requests_hourly;
GRANT SELECT ON finance.delivery_hourly TO adserver_app;
GRANT SELECT ON finance.delivery_hourly TO adserver_finance;

-- finance.discrepancies: Our impressions beside those that third parties counted, and of what the difference may consist.
--   day date: Day in the campaign's time zone
--   source character varying: Who counted
--   campaign_id character varying: Campaign
--   advertiser text: Name of the advertiser
--   ours bigint: Number of ads that were charged, as impressions in campaign_spend_daily
--   theirs bigint: Number of impressions that the source counted; NULL for a day between others that it did not report
--   difference bigint: theirs - ours
--   difference_percentage numeric: difference in percent; NULL if `ours` is 0
--   late bigint: Ads of the day whose impression came after their hold had expired, and was not charged; NULL for a day that retention has dropped
--   error bigint: Ads of the day that the player reported as failed, and that were not charged; NULL as late
--   expired bigint: Ads of the day whose impression never came, and that were not charged; NULL as late
--   repeat bigint: Impressions that were reported again and not counted again, on the day on which they came: a statistic
--   reversed bigint: Number of ads whose charge was taken back on the day
CREATE VIEW finance.discrepancies AS
 WITH newest AS (
         SELECT DISTINCT ON (third_party_counts.source, third_party_counts.day, third_party_counts.campaign_id) third_party_counts.source,
            third_party_counts.day,
            third_party_counts.campaign_id,
            third_party_counts.impressions
           FROM third_party_counts
          ORDER BY third_party_counts.source, third_party_counts.day, third_party_counts.campaign_id, third_party_counts.version DESC
        ), span AS (
         SELECT newest.source,
            newest.campaign_id,
            min(newest.day) AS first,
            max(newest.day) AS last
           FROM newest
          GROUP BY newest.source, newest.campaign_id
        ), booked AS (
         SELECT s.source,
            d_1.day,
            d_1.campaign_id,
            d_1.impressions,
            d_1.reversed
           FROM span s
             JOIN finance.campaign_spend_daily d_1 ON d_1.campaign_id::text = s.campaign_id::text AND d_1.day >= s.first AND d_1.day <= s.last
        ), compared AS (
         SELECT source,
            day,
            campaign_id,
            COALESCE(b.impressions, 0::bigint) AS ours,
            n.impressions AS theirs,
            COALESCE(b.reversed, 0::bigint) AS reversed
           FROM newest n
             FULL JOIN booked b USING (source, day, campaign_id)
        ), released AS (
         SELECT r_1.campaign_id,
            r_1.booked_on AS day,
            count(*) FILTER (WHERE r_1.cause = 'error'::text) AS error,
            count(*) FILTER (WHERE r_1.cause = 'expiry'::text AND e.event IS NOT NULL AND r_1.entry_id IS NULL) AS late,
            count(*) FILTER (WHERE r_1.cause = 'expiry'::text AND e.event IS NULL) AS expired
           FROM hold_releases r_1
             LEFT JOIN ad_events e ON e.request_key = r_1.request_key AND e.slot = r_1.slot AND e.served_on = r_1.served_on AND e.event = r_1.billing
          WHERE r_1.served_on >= (( SELECT min(span.first) - 1
                   FROM span)) AND r_1.served_on <= (( SELECT max(span.last) + 1
                   FROM span))
          GROUP BY r_1.campaign_id, r_1.booked_on
        )
 SELECT d.day,
    d.source,
    d.campaign_id,
    c.advertiser,
    d.ours,
    d.theirs,
    d.theirs - d.ours AS difference,
    round((d.theirs - d.ours)::numeric * 100.0 / NULLIF(d.ours, 0)::numeric, 2) AS difference_percentage,
        CASE
            WHEN k.is_kept THEN COALESCE(r.late, 0::bigint)
            ELSE NULL::bigint
        END AS late,
        CASE
            WHEN k.is_kept THEN COALESCE(r.error, 0::bigint)
            ELSE NULL::bigint
        END AS error,
        CASE
            WHEN k.is_kept THEN COALESCE(r.expired, 0::bigint)
            ELSE NULL::bigint
        END AS expired,
    COALESCE(p.impressions, 0::bigint) AS repeat,
    d.reversed
   FROM compared d
     JOIN campaigns c ON c.id::text = d.campaign_id::text
     LEFT JOIN released r ON r.campaign_id::text = d.campaign_id::text AND r.day = d.day
     LEFT JOIN repeated_impressions p ON p.campaign_id::text = d.campaign_id::text AND p.day = d.day
     CROSS JOIN LATERAL ( SELECT NOT (EXISTS ( SELECT
                   FROM retention t
                  WHERE (t.parent = ANY (ARRAY['hold_releases'::text, 'ad_events'::text])) AND t.dropped_before > (d.day - 1))) AS is_kept) k;
GRANT SELECT ON finance.discrepancies TO adserver_app;
GRANT SELECT ON finance.discrepancies TO adserver_finance;

-- finance.fill_rate_daily: Ad requests by UTC day, and how many of them got an ad.
--   requested_on date: UTC day
--   requests bigint: Number of ad requests, without repeated requests for an ad that was already served
--   filled bigint: Number of requests that got an ad or a pod
--   fill_percentage numeric: filled in percent of requests
CREATE VIEW finance.fill_rate_daily AS
 SELECT requested_on,
    sum(requests)::bigint AS requests,
    COALESCE(sum(requests) FILTER (WHERE outcome = 'served'::text), 0::numeric)::bigint AS filled,
    round(COALESCE(sum(requests) FILTER (WHERE outcome = 'served'::text), 0::numeric) * 100.0 / sum(requests), 2) AS fill_percentage
   FROM requests_daily
  WHERE outcome <> ALL (ARRAY['repeat'::text, 'error'::text])
  GROUP BY requested_on;
GRANT SELECT ON finance.fill_rate_daily TO adserver_app;
GRANT SELECT ON finance.fill_rate_daily TO adserver_finance;

-- finance.impressions: Every ad served: where, when, at what price, and the ledger entry that charged it. Days that retention has dropped are missing.
--   serve_id uuid: Request of the serve, as in invoice_lines; the AdServingId in VAST is serve_id-slot
--   slot smallint: Position of the ad in its pod; 0 for a single ad
--   served_on date: UTC day of served_at; a condition on it makes a query read only those days
--   served_at timestamp with time zone: When the ad was served
--   seen_at timestamp with time zone: When its impression was reported; NULL if it was not
--   campaign_id character varying: Campaign
--   creative_id character varying: The campaign's own creative; NULL for an upstream's ad
--   upstream_id character varying: Upstream; NULL for a creative of the campaign
--   placement_id character varying: Placement; NULL if the request named the campaign
--   publisher_id character varying: Publisher of the placement
--   country text: Country of the viewer, an ISO 3166-1 alpha-2 code; NULL if unknown
--   region text: Region of the viewer, an ISO 3166-2 code; NULL if unknown
--   device_type text: Device type of the viewer; NULL if unknown
--   price numeric(18,6): Price of the ad
--   currency character varying(3): Currency of the price
--   billing text: Event that charges for the ad: serve, impression, click or complete
--   entry_id bigint: Ledger entry of the charge, as in invoice_lines; NULL if the ad was not charged
--   charged numeric(18,6): Amount of that entry; 0 if the ad was not charged
--   reversed boolean: Whether the charge was taken back
CREATE VIEW finance.impressions AS
 SELECT s.request_key AS serve_id,
    s.slot,
    s.served_on,
    s.served_at,
    e.received_at AS seen_at,
    s.campaign_id,
    s.creative_id,
    s.upstream_id,
    s.placement_id,
    s.publisher_id,
    s.country,
    s.region,
    s.device_type,
    s.price,
    s.currency,
    s.billing,
    n.entry_id,
        CASE
            WHEN n.entry_id IS NULL THEN 0::numeric
            ELSE s.price
        END::numeric(18,6) AS charged,
    k.reverses IS NOT NULL AS reversed
   FROM ad_serves s
     LEFT JOIN ad_events e ON e.request_key = s.request_key AND e.slot = s.slot AND e.served_on = s.served_on AND e.event = 'impression'::text
     LEFT JOIN ad_events b ON b.request_key = s.request_key AND b.slot = s.slot AND b.served_on = s.served_on AND b.event = NULLIF(s.billing, 'impression'::text)
     LEFT JOIN hold_releases r ON r.request_key = s.request_key AND r.slot = s.slot AND r.served_on = s.served_on
     CROSS JOIN LATERAL ( SELECT COALESCE(s.entry_id, e.entry_id, b.entry_id, r.entry_id) AS entry_id) n
     LEFT JOIN ledger_corrections k ON k.reverses = n.entry_id;
GRANT SELECT ON finance.impressions TO adserver_app;
GRANT SELECT ON finance.impressions TO adserver_finance;

-- finance.invoice_details: Lines of invoices and credit notes: one for each campaign and price, and one for each adjustment.
--   number bigint: Invoice
--   position integer: Position of the line, from 1
--   month date: First day of the month of the invoice
--   kind text: ads, clicks, completions, days of a flat price, or adjustment
--   campaign_id character varying: Campaign
--   cpm numeric(18,3): Price of a thousand ads; NULL for the other kinds
--   unit_price numeric(18,6): Price of one ad, click or completed view; NULL for days and for an adjustment
--   impressions bigint: Number of them charged; NULL for an adjustment
--   reversed bigint: Number of them whose charge was taken back; NULL for an adjustment
--   billable bigint: impressions - reversed
--   amount numeric(18,6): Exact amount of the line
--   currency character varying(3): Currency of the amount
--   entry_id bigint: Ledger entry of an adjustment or of its reversal; NULL for the others
--   reason text: Reason of the adjustment; NULL for the others
CREATE VIEW finance.invoice_details AS
 SELECT d.number,
    d."position",
    i.month,
    d.kind,
    d.campaign_id,
        CASE d.kind
            WHEN 'ads'::text THEN d.cpm
            ELSE NULL::numeric
        END::numeric(18,3) AS cpm,
    (d.cpm / 1000::numeric)::numeric(18,6) AS unit_price,
    d.impressions,
    d.reversed,
    d.impressions - d.reversed AS billable,
    d.amount,
    i.currency,
    d.entry_id,
    d.reason
   FROM invoice_details d
     JOIN invoices i USING (number);
GRANT SELECT ON finance.invoice_details TO adserver_app;
GRANT SELECT ON finance.invoice_details TO adserver_finance;

-- finance.invoice_lines: Every entry of the ledger as a line of an invoice.
--   entry_id bigint: Entry of the ledger
--   booked_at timestamp with time zone: When it was booked
--   order_id character varying: Order; NULL for none
--   advertiser_id character varying: Advertiser
--   advertiser text: Name of the advertiser when it was booked
--   campaign_id character varying: Campaign
--   creative_id character varying: The campaign's own creative; NULL for an upstream's ad
--   upstream_id character varying: Upstream; NULL for a creative of the campaign
--   publisher_id character varying: Publisher of the placement
--   publisher text: Name of the publisher when it was booked
--   placement_id character varying: Placement; NULL if the request named the campaign, and for an adjustment
--   day date: Day in the campaign's time zone on which the entries are booked
--   late_from date: Day to which it belongs, if it was booked to a later one
--   kind text: charge, settle, flat, adjustment or reversal
--   serve_id uuid: Request of the serve; NULL for an adjustment
--   slot smallint: Position of the ad in its pod
--   amount numeric(18,6): Amount added to what must be paid
--   publisher_amount numeric(18,6): The publisher's part of the amount
--   house_amount numeric(18,6): The rest of the amount, which the house keeps
--   currency character varying(3): Currency of the amount
--   reason text: Reason of a manual entry
CREATE VIEW finance.invoice_lines AS
 SELECT entry_id,
    booked_at,
    order_id,
    advertiser_id,
    advertiser_name AS advertiser,
    campaign_id,
    creative_id,
    upstream_id,
    publisher_id,
    publisher_name AS publisher,
    placement_id,
    booked_on AS day,
    late_from,
    kind,
    request_key AS serve_id,
    slot,
    amount,
    publisher_amount,
    house_amount,
    currency,
    reason
   FROM spend_ledger;
GRANT SELECT ON finance.invoice_lines TO adserver_app;
GRANT SELECT ON finance.invoice_lines TO adserver_finance;

-- finance.invoices: Invoices and credit notes, which are never changed; without tax.
--   number bigint: Number, without holes; credit notes are in the same series
--   kind text: invoice, or credit_note if the total is negative
--   month date: First day of the closed month in which the entries are booked
--   corrects bigint: Invoice of an earlier month whose entries were reversed; NULL for the entries of the month
--   advertiser_id character varying: Advertiser, who pays
--   advertiser text: Name of the advertiser at its last entry of the month
--   billing_details text: Billing details of the advertiser when the invoice was made
--   order_id character varying: Order; NULL for the campaigns without an order
--   purchase_order text: The advertiser's purchase order number when the invoice was made
--   currency character varying(3): Currency of every amount
--   total_exact numeric(18,6): Sum of the lines
--   rounding numeric: total - total_exact
--   total numeric: Amount to be paid: total_exact, rounded half away from zero to the currency's minor unit
--   made_at timestamp with time zone: When the invoice was made
--   made_by text: Database role that made the invoice
CREATE VIEW finance.invoices AS
 SELECT number,
    kind,
    month,
    corrects,
    advertiser_id,
    advertiser_name AS advertiser,
    billing_details,
    order_id,
    purchase_order,
    currency,
    total_exact,
    total - total_exact AS rounding,
    round(total, minor_units::integer) AS total,
    made_at,
    made_by
   FROM invoices;
GRANT SELECT ON finance.invoices TO adserver_app;
GRANT SELECT ON finance.invoices TO adserver_finance;

-- finance.no_fill_daily: Ad requests that got no ad, by UTC day and reason.
--   requested_on date: UTC day
--   reason text: Reason, as in the header X-No-Fill-Reason
--   requests bigint: Number of requests
CREATE VIEW finance.no_fill_daily AS
 SELECT requested_on,
    outcome AS reason,
    requests
   FROM requests_daily
  WHERE outcome <> ALL (ARRAY['served'::text, 'repeat'::text, 'error'::text]);
GRANT SELECT ON finance.no_fill_daily TO adserver_app;
GRANT SELECT ON finance.no_fill_daily TO adserver_finance;

-- finance.order_credits: Credits of prepaid orders, with the role that recorded them and the reason.
--   order_id character varying: Order
--   advertiser text: Name of the advertiser
--   amount numeric(18,6): Amount that may be spent in addition; negative if money was taken back
--   currency character varying(3): Currency of the amount
--   reason text: Reason, such as the number of the payment
--   recorded_at timestamp with time zone: When the credit was recorded
--   recorded_by text: Database role that recorded the credit
--   idempotency_key character varying: Chosen by the caller; repeating it credits nothing more
CREATE VIEW finance.order_credits AS
 SELECT k.order_id,
    a.name AS advertiser,
    k.amount,
    o.currency,
    k.reason,
    k.recorded_at,
    k.recorded_by,
    k.idempotency_key
   FROM order_credits k
     JOIN orders o ON o.id::text = k.order_id::text
     JOIN advertisers a ON a.id::text = o.advertiser_id::text;
GRANT SELECT ON finance.order_credits TO adserver_app;
GRANT SELECT ON finance.order_credits TO adserver_finance;

-- finance.orders: Every order: what was bought, booked and remains.
--   order_id character varying: Order
--   advertiser_id character varying: Advertiser, who pays
--   advertiser text: Name of the advertiser
--   purchase_order text: The advertiser's purchase order number
--   currency character varying(3): Currency of every amount
--   starts_at timestamp with time zone: Earliest start of its campaigns; NULL for any
--   ends_at timestamp with time zone: Latest end of its campaigns, exclusive; NULL for any
--   prepaid boolean: Whether only credited money may be spent
--   budget numeric(18,6): Amount that its campaigns may spend together; NULL for no limit
--   credited numeric: Sum of its credits
--   impressions_limit bigint: Number of ads that its campaigns may serve together; NULL for no limit
--   delivered numeric: Charged for ads
--   corrected numeric: Adjustments and reversals
--   booked numeric: delivered + corrected: the amount to be paid
--   held numeric: Held for ads that were served and not yet billed
--   remaining numeric: Amount that may still be spent: of the budget, and of the credits if prepaid; NULL for no limit
--   impressions bigint: Number of ads charged
--   reversed bigint: Number of ads whose charge was taken back
--   billable bigint: impressions - reversed
--   open_holds bigint: Number of ads that were served and not yet billed
--   impressions_remaining bigint: Number of ads that may still be served; NULL for no limit
CREATE VIEW finance.orders AS
 SELECT o.id AS order_id,
    o.advertiser_id,
    a.name AS advertiser,
    o.purchase_order,
    o.currency,
    o.starts_at,
    o.ends_at,
    o.prepaid,
    o.budget,
    k.credited,
    o.impressions AS impressions_limit,
    COALESCE(d.delivered, 0::numeric) AS delivered,
    COALESCE(d.corrected, 0::numeric) AS corrected,
    u.booked,
    u.held,
    budget_limit(l."limit", u.booked + u.held) - u.booked - u.held AS remaining,
    u.impressions,
    COALESCE(d.reversed, 0::bigint) AS reversed,
    u.impressions - COALESCE(d.reversed, 0::bigint) AS billable,
    u.open_holds,
    (budget_limit(l.impressions_limit::numeric, (u.impressions + u.open_holds)::numeric) - u.impressions::numeric - u.open_holds::numeric)::bigint AS impressions_remaining
   FROM orders o
     JOIN advertisers a ON a.id::text = o.advertiser_id::text
     CROSS JOIN LATERAL ( SELECT COALESCE(sum(order_credits.amount), 0::numeric) AS credited
           FROM order_credits
          WHERE order_credits.order_id::text = o.id::text) k
     CROSS JOIN LATERAL ( SELECT
                CASE
                    WHEN o.prepaid THEN LEAST(o.budget, k.credited)
                    ELSE o.budget
                END AS "limit",
            o.impressions AS impressions_limit) l
     LEFT JOIN ( SELECT daily.order_id,
            COALESCE(sum(daily.amount) FILTER (WHERE daily.kind = ANY (ARRAY['charge'::text, 'settle'::text, 'flat'::text])), 0::numeric) AS delivered,
            COALESCE(sum(daily.amount) FILTER (WHERE daily.kind = ANY (ARRAY['adjustment'::text, 'reversal'::text])), 0::numeric) AS corrected,
            sum(daily.amount) AS booked,
            COALESCE(sum(daily.ads) FILTER (WHERE daily.kind = ANY (ARRAY['charge'::text, 'settle'::text])), 0::numeric)::bigint AS impressions,
            COALESCE(sum(daily.ads) FILTER (WHERE daily.kind = 'reversal'::text), 0::numeric)::bigint AS reversed
           FROM ( SELECT spend_daily.booked_on,
                    spend_daily.recorded_on,
                    spend_daily.order_id,
                    spend_daily.campaign_id,
                    spend_daily.publisher_id,
                    spend_daily.publisher_name,
                    spend_daily.currency,
                    spend_daily.kind,
                    spend_daily.amount,
                    spend_daily.publisher_amount,
                    spend_daily.ads
                   FROM spend_daily
                UNION ALL
                 SELECT spend_ledger.booked_on,
                    (spend_ledger.booked_at AT TIME ZONE 'UTC'::text)::date AS timezone,
                    spend_ledger.order_id,
                    spend_ledger.campaign_id,
                    spend_ledger.publisher_id,
                    spend_ledger.publisher_name,
                    spend_ledger.currency,
                    spend_ledger.kind,
                    spend_ledger.amount,
                    spend_ledger.publisher_amount,
                    num_nonnulls(spend_ledger.request_key) AS num_nonnulls
                   FROM spend_ledger
                  WHERE spend_ledger.booked_at >= (( SELECT books_state.rolled_up_to
                           FROM books_state))) daily
          WHERE daily.order_id IS NOT NULL
          GROUP BY daily.order_id) d ON d.order_id::text = o.id::text
     LEFT JOIN ( SELECT holds.order_id,
            sum(holds.price) AS held,
            count(*) AS open_holds
           FROM holds
          GROUP BY holds.order_id) h ON h.order_id::text = o.id::text
     CROSS JOIN LATERAL ( SELECT COALESCE(d.booked, 0::numeric) AS booked,
            COALESCE(h.held, 0::numeric) AS held,
            COALESCE(d.impressions, 0::bigint) AS impressions,
            COALESCE(h.open_holds, 0::bigint) AS open_holds) u;
GRANT SELECT ON finance.orders TO adserver_app;
GRANT SELECT ON finance.orders TO adserver_finance;

-- finance.payouts: Money that was paid to publishers.
--   publisher_id character varying: Publisher that was paid
--   publisher text: Name of the publisher when it was recorded
--   amount numeric(18,6): Amount that was paid; negative if the publisher paid it back
--   currency character varying(3): Currency of the amount
--   recorded_at timestamp with time zone: When the payout was recorded
--   recorded_by text: Database role that recorded the payout
--   idempotency_key character varying: Chosen by the caller; repeating it records nothing more
CREATE VIEW finance.payouts AS
 SELECT publisher_id,
    publisher_name AS publisher,
    amount,
    currency,
    recorded_at,
    recorded_by,
    idempotency_key
   FROM payouts;
GRANT SELECT ON finance.payouts TO adserver_app;
GRANT SELECT ON finance.payouts TO adserver_finance;

-- finance.publisher_earnings_daily: What publishers earned, by day in the campaigns' time zones, and currency.
--   publisher_id character varying: Publisher
--   publisher text: Name of the publisher
--   day date: Day in the campaign's time zone on which the entries are booked
--   currency character varying(3): Currency of every amount; one row for each, because currencies are never added together
--   delivered numeric: The publisher's part of what was charged for ads
--   corrected numeric: The publisher's part of reversals
--   earned numeric: delivered + corrected: what the publisher has earned
--   spent numeric: What advertisers pay for the same entries
--   house_amount numeric: spent - earned: what the house keeps
CREATE VIEW finance.publisher_earnings_daily AS
 SELECT publisher_id,
    (array_agg(publisher_name ORDER BY booked_on DESC, recorded_on DESC, publisher_name))[1] AS publisher,
    booked_on AS day,
    currency,
    COALESCE(sum(publisher_amount) FILTER (WHERE kind = ANY (ARRAY['charge'::text, 'settle'::text, 'flat'::text])), 0::numeric) AS delivered,
    COALESCE(sum(publisher_amount) FILTER (WHERE kind = ANY (ARRAY['adjustment'::text, 'reversal'::text])), 0::numeric) AS corrected,
    COALESCE(sum(publisher_amount), 0::numeric) AS earned,
    COALESCE(sum(amount), 0::numeric) AS spent,
    COALESCE(sum(amount - publisher_amount), 0::numeric) AS house_amount
   FROM ( SELECT spend_daily.booked_on,
            spend_daily.recorded_on,
            spend_daily.order_id,
            spend_daily.advertiser_id,
            spend_daily.advertiser_name,
            spend_daily.campaign_id,
            spend_daily.publisher_id,
            spend_daily.publisher_name,
            spend_daily.currency,
            spend_daily.kind,
            spend_daily.amount,
            spend_daily.publisher_amount,
            spend_daily.ads
           FROM spend_daily
        UNION ALL
         SELECT spend_ledger.booked_on,
            (spend_ledger.booked_at AT TIME ZONE 'UTC'::text)::date AS timezone,
            spend_ledger.order_id,
            spend_ledger.advertiser_id,
            spend_ledger.advertiser_name,
            spend_ledger.campaign_id,
            spend_ledger.publisher_id,
            spend_ledger.publisher_name,
            spend_ledger.currency,
            spend_ledger.kind,
            spend_ledger.amount,
            spend_ledger.publisher_amount,
            num_nonnulls(spend_ledger.request_key) AS num_nonnulls
           FROM spend_ledger
          WHERE spend_ledger.booked_at >= (( SELECT books_state.rolled_up_to
                   FROM books_state))) d
  WHERE publisher_id IS NOT NULL
  GROUP BY publisher_id, booked_on, currency;
GRANT SELECT ON finance.publisher_earnings_daily TO adserver_app;
GRANT SELECT ON finance.publisher_earnings_daily TO adserver_finance;

-- finance.publisher_earnings_monthly: What publishers earned, by month in the campaigns' time zones, and currency.
--   publisher_id character varying: Publisher
--   publisher text: Name of the publisher
--   month date: First day of the month
--   currency character varying(3): Currency of every amount; one row for each, because currencies are never added together
--   delivered numeric: The publisher's part of what was charged for ads
--   corrected numeric: The publisher's part of reversals
--   earned numeric: delivered + corrected: what the publisher has earned
--   spent numeric: What advertisers pay for the same entries
--   house_amount numeric: spent - earned: what the house keeps
CREATE VIEW finance.publisher_earnings_monthly AS
 SELECT publisher_id,
    (array_agg(publisher_name ORDER BY booked_on DESC, recorded_on DESC, publisher_name))[1] AS publisher,
    date_trunc('month'::text, booked_on::timestamp with time zone)::date AS month,
    currency,
    COALESCE(sum(publisher_amount) FILTER (WHERE kind = ANY (ARRAY['charge'::text, 'settle'::text, 'flat'::text])), 0::numeric) AS delivered,
    COALESCE(sum(publisher_amount) FILTER (WHERE kind = ANY (ARRAY['adjustment'::text, 'reversal'::text])), 0::numeric) AS corrected,
    COALESCE(sum(publisher_amount), 0::numeric) AS earned,
    COALESCE(sum(amount), 0::numeric) AS spent,
    COALESCE(sum(amount - publisher_amount), 0::numeric) AS house_amount
   FROM ( SELECT spend_daily.booked_on,
            spend_daily.recorded_on,
            spend_daily.order_id,
            spend_daily.advertiser_id,
            spend_daily.advertiser_name,
            spend_daily.campaign_id,
            spend_daily.publisher_id,
            spend_daily.publisher_name,
            spend_daily.currency,
            spend_daily.kind,
            spend_daily.amount,
            spend_daily.publisher_amount,
            spend_daily.ads
           FROM spend_daily
        UNION ALL
         SELECT spend_ledger.booked_on,
            (spend_ledger.booked_at AT TIME ZONE 'UTC'::text)::date AS timezone,
            spend_ledger.order_id,
            spend_ledger.advertiser_id,
            spend_ledger.advertiser_name,
            spend_ledger.campaign_id,
            spend_ledger.publisher_id,
            spend_ledger.publisher_name,
            spend_ledger.currency,
            spend_ledger.kind,
            spend_ledger.amount,
            spend_ledger.publisher_amount,
            num_nonnulls(spend_ledger.request_key) AS num_nonnulls
           FROM spend_ledger
          WHERE spend_ledger.booked_at >= (( SELECT books_state.rolled_up_to
                   FROM books_state))) d
  WHERE publisher_id IS NOT NULL
  GROUP BY publisher_id, (date_trunc('month'::text, booked_on::timestamp with time zone)::date), currency;
GRANT SELECT ON finance.publisher_earnings_monthly TO adserver_app;
GRANT SELECT ON finance.publisher_earnings_monthly TO adserver_finance;

-- finance.publisher_statement: The accounts of publishers: one row for each publisher, currency, and month with entries or payouts.
--   publisher_id character varying: Publisher
--   publisher text: Name of the publisher on the day of its last entry or payout of the month
--   currency character varying(3): Currency of every amount; one account for each
--   month date: First day of the month; a payout belongs to the UTC month in which it was recorded
--   opening_balance numeric: What was owed before the month; negative if more was paid than earned
--   delivered numeric: The publisher's part of what was charged for ads
--   corrected numeric: The publisher's part of reversals
--   earned numeric: delivered + corrected: what the publisher has earned
--   paid numeric: What the publisher was paid
--   closing_balance numeric: opening_balance + earned - paid: what is owed after the month
CREATE VIEW finance.publisher_statement AS
 WITH movement AS (
         SELECT daily.publisher_id,
            daily.publisher_name,
            daily.currency,
            daily.booked_on,
            daily.recorded_on,
                CASE
                    WHEN daily.kind = ANY (ARRAY['charge'::text, 'settle'::text, 'flat'::text]) THEN daily.publisher_amount
                    ELSE 0::numeric
                END AS delivered,
                CASE
                    WHEN daily.kind = ANY (ARRAY['charge'::text, 'settle'::text, 'flat'::text]) THEN 0::numeric
                    ELSE daily.publisher_amount
                END AS corrected,
            0 AS paid
           FROM ( SELECT spend_daily.booked_on,
                    spend_daily.recorded_on,
                    spend_daily.order_id,
                    spend_daily.campaign_id,
                    spend_daily.publisher_id,
                    spend_daily.publisher_name,
                    spend_daily.currency,
                    spend_daily.kind,
                    spend_daily.amount,
                    spend_daily.publisher_amount,
                    spend_daily.ads
                   FROM spend_daily
                UNION ALL
                 SELECT spend_ledger.booked_on,
                    (spend_ledger.booked_at AT TIME ZONE 'UTC'::text)::date AS timezone,
                    spend_ledger.order_id,
                    spend_ledger.campaign_id,
                    spend_ledger.publisher_id,
                    spend_ledger.publisher_name,
                    spend_ledger.currency,
                    spend_ledger.kind,
                    spend_ledger.amount,
                    spend_ledger.publisher_amount,
                    num_nonnulls(spend_ledger.request_key) AS num_nonnulls
                   FROM spend_ledger
                  WHERE spend_ledger.booked_at >= (( SELECT books_state.rolled_up_to
                           FROM books_state))) daily
          WHERE daily.publisher_id IS NOT NULL
        UNION ALL
         SELECT p.publisher_id,
            p.publisher_name,
            p.currency,
            d.recorded_on,
            d.recorded_on,
            0,
            0,
            p.amount
           FROM payouts p
             CROSS JOIN LATERAL ( SELECT (p.recorded_at AT TIME ZONE 'UTC'::text)::date AS recorded_on) d
        ), monthly AS (
         SELECT movement.publisher_id,
            (array_agg(movement.publisher_name ORDER BY movement.booked_on DESC, movement.recorded_on DESC, movement.publisher_name))[1] AS publisher,
            movement.currency,
            date_trunc('month'::text, movement.booked_on::timestamp with time zone)::date AS month,
            sum(movement.delivered) AS delivered,
            sum(movement.corrected) AS corrected,
            sum(movement.delivered + movement.corrected) AS earned,
            sum(movement.paid) AS paid
           FROM movement
          GROUP BY movement.publisher_id, movement.currency, (date_trunc('month'::text, movement.booked_on::timestamp with time zone)::date)
        )
 SELECT publisher_id,
    publisher,
    currency,
    month,
    sum(earned - paid) OVER until_month - (earned - paid) AS opening_balance,
    delivered,
    corrected,
    earned,
    paid,
    sum(earned - paid) OVER until_month AS closing_balance
   FROM monthly
  WINDOW until_month AS (PARTITION BY publisher_id, currency ORDER BY month);
GRANT SELECT ON finance.publisher_statement TO adserver_app;
GRANT SELECT ON finance.publisher_statement TO adserver_finance;

-- finance.reconciliation: Every disagreement in the books; no rows if the books agree. WHERE rule = ... runs that check alone; SET adserver.reconcile_since = '2026-11-01' checks what has happened since that day.
--   rule text: I1 budgets, I2 counters, I3 serves, rollup, correction, split, order, invoice, delivery, or flat
--   campaign_id character varying: Campaign; NULL for the budget of an order, and for an invoice
--   order_id character varying: Order; NULL for none
--   subject text: The budget period, serve, rollup or entry
--   expected numeric: Value that it should have
--   actual numeric: Value that it has
--   explanation text: Description of the disagreement
CREATE VIEW finance.reconciliation AS
 SELECT 'I1'::text AS rule,
    t.campaign_id,
    t.order_id,
    (t.period || ' '::text) || t.period_start AS subject,
    l.expected,
    l.actual,
    l.explanation
   FROM ( SELECT budget_tracking.budget_id,
            budget_tracking.campaign_id,
            budget_tracking.order_id,
            budget_tracking.period,
            budget_tracking.period_start,
            budget_tracking."limit",
            budget_tracking.impressions_limit,
            budget_tracking.spent,
            budget_tracking.held,
            budget_tracking.impressions
           FROM budget_tracking
          WHERE budget_tracking.period = 'lifetime'::text OR budget_tracking.period_start >= (COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date::timestamp without time zone AT TIME ZONE 'UTC'::text)
        UNION ALL
         SELECT budget_archive.campaign_id,
            budget_archive.campaign_id,
            NULL::character varying,
            budget_archive.period,
            budget_archive.period_start,
            budget_archive."limit",
            budget_archive.impressions_limit,
            budget_archive.spent,
            0,
            budget_archive.impressions
           FROM budget_archive
          WHERE budget_archive.period_start >= (COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date::timestamp without time zone AT TIME ZONE 'UTC'::text)) t
     CROSS JOIN LATERAL ( VALUES (t."limit",t.spent + t.held,'spent and held exceed the limit'::text), (t.impressions_limit,t.impressions,'impressions exceed the limit'::text)) l(expected, actual, explanation)
  WHERE l.actual > l.expected
UNION ALL
 SELECT 'I2'::text AS rule,
    COALESCE(t.campaign_id, s.campaign_id) AS campaign_id,
    COALESCE(t.order_id, s.order_id) AS order_id,
    (COALESCE(t.period, s.period) || ' '::text) || COALESCE(t.period_start, s.period_start) AS subject,
    n.expected,
    n.actual,
        CASE
            WHEN t.budget_id IS NULL THEN 'there is no counter for what was booked'::text
            ELSE (n.counter || ' is not the sum of its '::text) || n.source
        END AS explanation
   FROM ( SELECT counted.campaign_id,
            counted.order_id,
            counted.period,
            counted.period_start,
            sum(counted.spent) AS spent,
            sum(counted.held) AS held,
            sum(counted.ads) AS ads
           FROM ( SELECT p.campaign_id,
                    p.order_id,
                    p.period,
                    p.period_start,
                    e.spent,
                    e.held,
                    e.ads
                   FROM ( SELECT spend_ledger.campaign_id,
                            spend_ledger.order_id,
                            spend_ledger.hour_start,
                            spend_ledger.day_start,
                            sum(spend_ledger.amount) AS spent,
                            0 AS held,
                            count(*) FILTER (WHERE spend_ledger.kind = ANY (ARRAY['charge'::text, 'settle'::text])) AS ads
                           FROM spend_ledger
                          WHERE NOT COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date > '-infinity'::date
                          GROUP BY spend_ledger.campaign_id, spend_ledger.order_id, spend_ledger.hour_start, spend_ledger.day_start
                        UNION ALL
                         SELECT holds.campaign_id,
                            holds.order_id,
                            holds.hour_start,
                            holds.day_start,
                            0,
                            sum(holds.price) AS sum,
                            count(*) AS count
                           FROM holds
                          GROUP BY holds.campaign_id, holds.order_id, holds.hour_start, holds.day_start) e
                     CROSS JOIN LATERAL ( VALUES (e.campaign_id,NULL::character varying,'hour'::text,e.hour_start), (e.campaign_id,NULL::character varying,'day'::text,e.day_start), (e.campaign_id,NULL::character varying,'lifetime'::text,to_timestamp(0::double precision)), (NULL::character varying,e.order_id,'lifetime'::text,to_timestamp(0::double precision))) p(campaign_id, order_id, period, period_start)
                  WHERE num_nonnulls(p.campaign_id, p.order_id) = 1 AND (p.period = 'lifetime'::text OR p.period_start >= (COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date::timestamp without time zone AT TIME ZONE 'UTC'::text))
                UNION ALL
                 SELECT opening_balances.campaign_id,
                    opening_balances.order_id,
                    opening_balances.period,
                    opening_balances.period_start,
                    opening_balances.amount,
                    0,
                    opening_balances.ads
                   FROM opening_balances
                  WHERE opening_balances.period = 'lifetime'::text AND NOT COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date > '-infinity'::date OR opening_balances.period <> 'lifetime'::text AND opening_balances.period_start >= (COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date::timestamp without time zone AT TIME ZONE 'UTC'::text)
                UNION ALL
                 SELECT p.campaign_id,
                    NULL::character varying,
                    p.period,
                    p.period_start,
                    sum(e.amount) AS sum,
                    0,
                    count(*) FILTER (WHERE e.kind = ANY (ARRAY['charge'::text, 'settle'::text])) AS count
                   FROM spend_ledger e
                     CROSS JOIN LATERAL ( VALUES (e.campaign_id,'hour'::text,e.hour_start), (e.campaign_id,'day'::text,e.day_start)) p(campaign_id, period, period_start)
                  WHERE COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date > '-infinity'::date AND e.booked_on >= (COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date - 1) AND p.period_start >= (COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date::timestamp without time zone AT TIME ZONE 'UTC'::text)
                  GROUP BY p.campaign_id, p.period, p.period_start
                UNION ALL
                 SELECT p.campaign_id,
                    p.order_id,
                    'lifetime'::text,
                    to_timestamp(0::double precision) AS to_timestamp,
                    sum(d.amount) AS sum,
                    0,
                    COALESCE(sum(d.ads) FILTER (WHERE d.kind = ANY (ARRAY['charge'::text, 'settle'::text])), 0::numeric) AS "coalesce"
                   FROM ( SELECT spend_daily.campaign_id,
                            spend_daily.order_id,
                            spend_daily.kind,
                            spend_daily.amount,
                            spend_daily.ads
                           FROM spend_daily
                        UNION ALL
                         SELECT spend_ledger.campaign_id,
                            spend_ledger.order_id,
                            spend_ledger.kind,
                            spend_ledger.amount,
                            1
                           FROM spend_ledger
                          WHERE spend_ledger.booked_at >= (( SELECT books_state.rolled_up_to
                                   FROM books_state))) d
                     CROSS JOIN LATERAL ( VALUES (d.campaign_id,NULL::character varying), (NULL::character varying,d.order_id)) p(campaign_id, order_id)
                  WHERE COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date > '-infinity'::date AND num_nonnulls(p.campaign_id, p.order_id) = 1
                  GROUP BY p.campaign_id, p.order_id) counted
          GROUP BY counted.campaign_id, counted.order_id, counted.period, counted.period_start) s
     FULL JOIN ( SELECT budget_tracking.budget_id,
            budget_tracking.campaign_id,
            budget_tracking.order_id,
            budget_tracking.period,
            budget_tracking.period_start,
            budget_tracking."limit",
            budget_tracking.impressions_limit,
            budget_tracking.spent,
            budget_tracking.held,
            budget_tracking.impressions
           FROM budget_tracking
          WHERE budget_tracking.period = 'lifetime'::text OR budget_tracking.period_start >= (COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date::timestamp without time zone AT TIME ZONE 'UTC'::text)
        UNION ALL
         SELECT budget_archive.campaign_id,
            budget_archive.campaign_id,
            NULL::character varying,
            budget_archive.period,
            budget_archive.period_start,
            budget_archive."limit",
            budget_archive.impressions_limit,
            budget_archive.spent,
            0,
            budget_archive.impressions
           FROM budget_archive
          WHERE budget_archive.period_start >= (COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date::timestamp without time zone AT TIME ZONE 'UTC'::text)) t ON t.budget_id::text = COALESCE(s.campaign_id, (' order '::text || s.order_id::text)::character varying)::text AND t.period = s.period AND t.period_start = s.period_start
     CROSS JOIN LATERAL ( VALUES ('spent'::text,'ledger entries'::text,COALESCE(s.spent, 0::numeric),t.spent), ('held'::text,'open holds'::text,COALESCE(s.held, 0::numeric),t.held), ('impressions'::text,'charges and open holds'::text,COALESCE(s.ads, 0::numeric),t.impressions)) n(counter, source, expected, actual)
  WHERE n.expected <> n.actual OR t.budget_id IS NULL AND n.counter = 'spent'::text AND s.period = 'lifetime'::text AND (EXISTS ( SELECT
           FROM configured_budgets b
          WHERE b.budget_id::text = COALESCE(s.campaign_id, (' order '::text || s.order_id::text)::character varying)::text AND b.period = 'lifetime'::text))
UNION ALL
 SELECT 'I3'::text AS rule,
    both_sides.campaign_id,
    NULL::character varying AS order_id,
    (both_sides.request_key || '/'::text) || both_sides.slot AS subject,
    sum(both_sides.served) AS expected,
    sum(both_sides.paid) AS actual,
        CASE
            WHEN sum(both_sides.paid) = 0 THEN ((('a serve of '::text || both_sides.price) || ' '::text) || both_sides.currency::text) || ' was neither charged, held nor released'::text
            WHEN sum(both_sides.served) = 0 THEN ((both_sides.price || ' '::text) || both_sides.currency::text) || ' was charged, held or released, and not served'::text
            ELSE ((('a serve of '::text || both_sides.price) || ' '::text) || both_sides.currency::text) || ' was charged, held or released more than once'::text
        END AS explanation
   FROM ( SELECT ad_serves.request_key,
            ad_serves.slot,
            ad_serves.campaign_id,
            ad_serves.currency,
            ad_serves.price,
            ad_serves.billing = 'serve'::text AS at_once,
            1 AS served,
            0 AS paid,
            ad_serves.served_on AS day
           FROM ad_serves
          WHERE ad_serves.served_on >= (COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date - 8)
        UNION ALL
         SELECT charged.request_key,
            charged.slot,
            charged.campaign_id,
            charged.currency,
            charged.amount,
            charged.kind = 'charge'::text,
            0,
            1,
            (charged.booked_at AT TIME ZONE 'UTC'::text)::date - 8
           FROM ( SELECT spend_ledger.request_key,
                    spend_ledger.slot,
                    spend_ledger.campaign_id,
                    spend_ledger.currency,
                    spend_ledger.amount,
                    spend_ledger.kind,
                    spend_ledger.booked_at
                   FROM spend_ledger
                  WHERE (spend_ledger.kind = ANY (ARRAY['charge'::text, 'settle'::text])) AND spend_ledger.booked_on >= (COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date - 1) AND spend_ledger.booked_at >= (COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date::timestamp without time zone AT TIME ZONE 'UTC'::text)
                UNION ALL
                 SELECT archived_charges.request_key,
                    archived_charges.slot,
                    archived_charges.campaign_id,
                    archived_charges.currency,
                    archived_charges.amount,
                    archived_charges.kind,
                    archived_charges.booked_at
                   FROM archived_charges
                  WHERE archived_charges.booked_at >= (COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date::timestamp without time zone AT TIME ZONE 'UTC'::text)) charged
        UNION ALL
         SELECT holds.request_key,
            holds.slot,
            holds.campaign_id,
            holds.currency,
            holds.price,
            false,
            0,
            1,
            holds.served_on
           FROM holds
          WHERE holds.served_on >= COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date
        UNION ALL
         SELECT hold_releases.request_key,
            hold_releases.slot,
            hold_releases.campaign_id,
            hold_releases.currency,
            hold_releases.price,
            false,
            0,
            1,
            hold_releases.served_on
           FROM hold_releases
          WHERE hold_releases.served_on >= COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date AND hold_releases.entry_id IS NULL) both_sides
  GROUP BY both_sides.request_key, both_sides.slot, both_sides.campaign_id, both_sides.currency, both_sides.price, both_sides.at_once
 HAVING sum(both_sides.served) <> sum(both_sides.paid) AND
        CASE
            WHEN sum(both_sides.served) > 0 THEN sum(both_sides.paid) > sum(both_sides.served) OR max(both_sides.day) FILTER (WHERE both_sides.served = 1) >= COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date
            ELSE max(both_sides.day) >= COALESCE(( SELECT retention.dropped_before
               FROM retention
              WHERE retention.parent = 'ad_serves'::text), '-infinity'::date)
        END
UNION ALL
 SELECT 'I3'::text AS rule,
    l.campaign_id,
    l.order_id,
    (l.request_key || '/'::text) || l.slot AS subject,
    1 AS expected,
    0 AS actual,
    ('an ad was charged, and the '::text || s.billing) || ' event is missing'::text AS explanation
   FROM spend_ledger l
     JOIN ad_serves s USING (request_key, slot, campaign_id)
  WHERE l.kind = 'settle'::text AND s.billing <> 'serve'::text AND s.served_at <= l.booked_at AND s.served_on >= COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date AND l.booked_on >= (COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date - 1) AND NOT (EXISTS ( SELECT
           FROM ad_events e
          WHERE e.request_key = s.request_key AND e.slot = s.slot AND e.event = s.billing AND e.served_on >= (COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date - 8) AND COALESCE(e.entry_id, l.entry_id) = l.entry_id)) AND s.served_on >= COALESCE(( SELECT retention.dropped_before
           FROM retention
          WHERE retention.parent = 'ad_events'::text), '-infinity'::date)
UNION ALL
 SELECT 'I3'::text AS rule,
    a.campaign_id,
    NULL::character varying AS order_id,
    'request '::text || a.request_key AS subject,
    a.slot - 1 AS expected,
    NULL::numeric AS actual,
    'a pod has a gap: a serve of the request is missing'::text AS explanation
   FROM ad_serves a
  WHERE a.slot > 0 AND a.served_on >= COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date AND NOT (EXISTS ( SELECT
           FROM ad_serves b
          WHERE b.request_key = a.request_key AND b.slot = (a.slot - 1) AND b.served_on = a.served_on AND b.served_on >= COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date))
UNION ALL
 SELECT 'rollup'::text AS rule,
    COALESCE(r.campaign_id, l.campaign_id) AS campaign_id,
    COALESCE(r.order_id, l.order_id) AS order_id,
    (((COALESCE(r.booked_on, l.booked_on) || ' '::text) || COALESCE(r.kind, l.kind)) || ' recorded '::text) || COALESCE(r.recorded_on, l.recorded_on) AS subject,
    COALESCE(l.amount, 0::numeric) AS expected,
    COALESCE(r.amount, 0::numeric) AS actual,
    'the daily rollup is not the sum of its ledger entries'::text AS explanation
   FROM ( SELECT spend_daily.booked_on,
            spend_daily.recorded_on,
            spend_daily.order_id,
            spend_daily.advertiser_id,
            spend_daily.advertiser_name,
            spend_daily.campaign_id,
            spend_daily.publisher_id,
            spend_daily.publisher_name,
            spend_daily.currency,
            spend_daily.kind,
            spend_daily.amount,
            spend_daily.publisher_amount,
            spend_daily.entries,
            spend_daily.ads
           FROM spend_daily
          WHERE spend_daily.recorded_on >= COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date AND NOT (EXISTS ( SELECT
                   FROM archived_months m
                  WHERE m.month = date_trunc('month'::text, spend_daily.booked_on::timestamp without time zone)::date))) r
     FULL JOIN ( SELECT spend_ledger.booked_on,
            (spend_ledger.booked_at AT TIME ZONE 'UTC'::text)::date AS recorded_on,
            spend_ledger.order_id,
            spend_ledger.advertiser_id,
            spend_ledger.advertiser_name,
            spend_ledger.campaign_id,
            spend_ledger.publisher_id,
            spend_ledger.publisher_name,
            spend_ledger.currency,
            spend_ledger.kind,
            sum(spend_ledger.amount) AS amount,
            sum(spend_ledger.publisher_amount) AS publisher_amount,
            count(*) AS entries,
            count(spend_ledger.request_key) AS ads
           FROM spend_ledger
          WHERE spend_ledger.booked_at >= (COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date::timestamp without time zone AT TIME ZONE 'UTC'::text) AND spend_ledger.booked_at < (( SELECT books_state.rolled_up_to
                   FROM books_state))
          GROUP BY spend_ledger.booked_on, ((spend_ledger.booked_at AT TIME ZONE 'UTC'::text)::date), spend_ledger.order_id, spend_ledger.advertiser_id, spend_ledger.advertiser_name, spend_ledger.campaign_id, spend_ledger.publisher_id, spend_ledger.publisher_name, spend_ledger.currency, spend_ledger.kind) l ON l.booked_on = r.booked_on AND l.recorded_on = r.recorded_on AND l.advertiser_id::text = r.advertiser_id::text AND l.advertiser_name = r.advertiser_name AND l.campaign_id::text = r.campaign_id::text AND l.currency::text = r.currency::text AND l.kind = r.kind AND COALESCE(l.order_id, ''::character varying)::text = COALESCE(r.order_id, ''::character varying)::text AND COALESCE(l.publisher_id, ''::character varying)::text = COALESCE(r.publisher_id, ''::character varying)::text AND COALESCE(l.publisher_name, ''::text) = COALESCE(r.publisher_name, ''::text)
  WHERE l.amount IS DISTINCT FROM r.amount OR l.publisher_amount IS DISTINCT FROM r.publisher_amount OR l.entries IS DISTINCT FROM r.entries OR l.ads IS DISTINCT FROM r.ads
UNION ALL
 SELECT 'rollup'::text AS rule,
    NULL::character varying AS campaign_id,
    NULL::character varying AS order_id,
    to_char(m.month::timestamp with time zone, 'YYYY-MM'::text) AS subject,
    NULL::numeric AS expected,
    NULL::numeric AS actual,
    'the daily sums of an archived month have changed'::text AS explanation
   FROM archived_months m
  WHERE m.daily_hash <> (( SELECT sha256(convert_to(COALESCE(string_agg(jsonb_build_array(spend_daily.booked_on, spend_daily.recorded_on, spend_daily.order_id, spend_daily.advertiser_id, spend_daily.advertiser_name, spend_daily.campaign_id, spend_daily.publisher_id, spend_daily.publisher_name, spend_daily.currency, spend_daily.kind, spend_daily.amount, spend_daily.publisher_amount, spend_daily.entries, spend_daily.ads)::text, '
'::text ORDER BY (jsonb_build_array(spend_daily.booked_on, spend_daily.recorded_on, spend_daily.order_id, spend_daily.advertiser_id, spend_daily.advertiser_name, spend_daily.campaign_id, spend_daily.publisher_id, spend_daily.publisher_name, spend_daily.currency, spend_daily.kind)::text COLLATE "C")), ''::text), 'UTF8'::name)) AS sha256
           FROM spend_daily
          WHERE spend_daily.booked_on >= m.month AND spend_daily.booked_on < (m.month + '1 mon'::interval)))
UNION ALL
 SELECT 'I2'::text AS rule,
    s.campaign_id,
    s.order_id,
    'opening balance'::text AS subject,
    s.amount AS expected,
    o.amount AS actual,
    'the opening balance is not the sum of the daily sums of archived months'::text AS explanation
   FROM ( SELECT p.campaign_id,
            p.order_id,
            sum(d.amount) AS amount
           FROM spend_daily d
             CROSS JOIN LATERAL ( VALUES (d.campaign_id,NULL::character varying), (NULL::character varying,d.order_id)) p(campaign_id, order_id)
          WHERE num_nonnulls(p.campaign_id, p.order_id) = 1 AND NOT (NOT (EXISTS ( SELECT
                   FROM archived_months m
                  WHERE m.month = date_trunc('month'::text, d.booked_on::timestamp without time zone)::date)))
          GROUP BY p.campaign_id, p.order_id) s
     FULL JOIN ( SELECT opening_balances.campaign_id,
            opening_balances.order_id,
            sum(opening_balances.amount) AS amount
           FROM opening_balances
          WHERE opening_balances.period = 'lifetime'::text
          GROUP BY opening_balances.campaign_id, opening_balances.order_id) o ON COALESCE(o.campaign_id, ''::character varying)::text = COALESCE(s.campaign_id, ''::character varying)::text AND COALESCE(o.order_id, ''::character varying)::text = COALESCE(s.order_id, ''::character varying)::text
  WHERE s.amount IS DISTINCT FROM o.amount
UNION ALL
 SELECT 'correction'::text AS rule,
    COALESCE(k.campaign_id, l.campaign_id) AS campaign_id,
    NULL::character varying AS order_id,
    'entry '::text || COALESCE(k.entry_id, l.entry_id) AS subject,
    k.amount AS expected,
    l.amount AS actual,
    'the manual entry and the record of who booked it differ'::text AS explanation
   FROM ( SELECT ledger_corrections.idempotency_key,
            ledger_corrections.kind,
            ledger_corrections.campaign_id,
            ledger_corrections.amount,
            ledger_corrections.currency,
            ledger_corrections.reason,
            ledger_corrections.reverses,
            ledger_corrections.reverses_booked_on,
            ledger_corrections.entry_id,
            ledger_corrections.booked_on,
            ledger_corrections.recorded_at,
            ledger_corrections.recorded_by,
            ledger_corrections.set_entry
           FROM ledger_corrections
          WHERE NOT (EXISTS ( SELECT
                   FROM archived_months m
                  WHERE m.month = date_trunc('month'::text, ledger_corrections.booked_on::timestamp without time zone)::date)) AND ledger_corrections.recorded_at >= ((COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date::timestamp without time zone AT TIME ZONE 'UTC'::text) - '1 day'::interval)) k
     FULL JOIN ( SELECT spend_ledger.entry_id,
            spend_ledger.booked_on,
            spend_ledger.booked_at,
            spend_ledger.kind,
            spend_ledger.campaign_id,
            spend_ledger.amount,
            spend_ledger.currency
           FROM spend_ledger
          WHERE (spend_ledger.kind = ANY (ARRAY['adjustment'::text, 'reversal'::text])) AND spend_ledger.booked_at >= ((COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date::timestamp without time zone AT TIME ZONE 'UTC'::text) - '1 day'::interval)) l USING (entry_id, booked_on)
  WHERE COALESCE(l.booked_at, k.recorded_at) >= (COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date::timestamp without time zone AT TIME ZONE 'UTC'::text) AND (k.kind IS DISTINCT FROM l.kind OR k.campaign_id::text IS DISTINCT FROM l.campaign_id::text OR k.amount IS DISTINCT FROM l.amount OR k.currency::text IS DISTINCT FROM l.currency::text)
UNION ALL
 SELECT 'correction'::text AS rule,
    NULL::character varying AS campaign_id,
    NULL::character varying AS order_id,
    'set '::text || s.idempotency_key::text AS subject,
    s.entries AS expected,
    count(e."position") AS actual,
    'the set does not have the number of entries that it was recorded with'::text AS explanation
   FROM correction_sets s
     LEFT JOIN correction_set_entries e USING (idempotency_key)
  GROUP BY s.idempotency_key
 HAVING count(e."position") <> s.entries
UNION ALL
 SELECT 'split'::text AS rule,
    spend_ledger.campaign_id,
    spend_ledger.order_id,
    'entry '::text || spend_ledger.entry_id AS subject,
    spend_ledger.amount AS expected,
    spend_ledger.publisher_amount + spend_ledger.house_amount AS actual,
    'the parts of publisher and house are not the amount'::text AS explanation
   FROM spend_ledger
  WHERE spend_ledger.amount <> (spend_ledger.publisher_amount + spend_ledger.house_amount) AND spend_ledger.booked_at >= (COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date::timestamp without time zone AT TIME ZONE 'UTC'::text)
UNION ALL
 SELECT 'split'::text AS rule,
    r.campaign_id,
    r.order_id,
    'entry '::text || r.entry_id AS subject,
    - e.publisher_amount AS expected,
    r.publisher_amount AS actual,
    ('the reversal is not split as entry '::text || e.entry_id) || ' was'::text AS explanation
   FROM ledger_corrections k
     JOIN spend_ledger r ON r.entry_id = k.entry_id AND r.booked_on = k.booked_on
     JOIN spend_ledger e ON e.entry_id = k.reverses AND e.booked_on = k.reverses_booked_on
  WHERE k.recorded_at >= (COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date::timestamp without time zone AT TIME ZONE 'UTC'::text) AND (r.amount IS DISTINCT FROM (- e.amount) OR r.publisher_amount IS DISTINCT FROM (- e.publisher_amount) OR r.order_id::text IS DISTINCT FROM e.order_id::text OR r.publisher_id::text IS DISTINCT FROM e.publisher_id::text)
UNION ALL
 SELECT 'order'::text AS rule,
    NULL::character varying AS campaign_id,
    o.id AS order_id,
    'credits'::text AS subject,
    k.credited AS expected,
    t.spent + t.held AS actual,
    'spent and held exceed what was credited'::text AS explanation
   FROM orders o
     JOIN budget_tracking t ON t.order_id::text = o.id::text
     CROSS JOIN LATERAL ( SELECT COALESCE(sum(order_credits.amount), 0::numeric) AS credited
           FROM order_credits
          WHERE order_credits.order_id::text = o.id::text) k
  WHERE o.prepaid AND (t.spent + t.held) > k.credited
UNION ALL
 SELECT 'order'::text AS rule,
    NULL::character varying AS campaign_id,
    o.id AS order_id,
    'limit'::text AS subject,
    l.expected,
    b."limit" AS actual,
        CASE
            WHEN o.prepaid THEN 'the configured limit is not the lower one of the budget and the credits'::text
            ELSE 'the configured limit is not the budget'::text
        END AS explanation
   FROM orders o
     LEFT JOIN configured_budgets b ON b.order_id::text = o.id::text
     CROSS JOIN LATERAL ( SELECT
                CASE
                    WHEN o.prepaid THEN LEAST(o.budget, COALESCE(sum(order_credits.amount), 0::numeric))
                    ELSE o.budget
                END AS expected
           FROM order_credits
          WHERE order_credits.order_id::text = o.id::text) l
  WHERE b."limit" IS DISTINCT FROM l.expected
UNION ALL
 SELECT 'order'::text AS rule,
    NULL::character varying AS campaign_id,
    o.id AS order_id,
    'impressions'::text AS subject,
    o.impressions AS expected,
    b.impressions_limit AS actual,
    'the configured number of impressions is not that of the order'::text AS explanation
   FROM orders o
     LEFT JOIN configured_budgets b ON b.order_id::text = o.id::text
  WHERE b.impressions_limit IS DISTINCT FROM o.impressions
UNION ALL
 SELECT 'invoice'::text AS rule,
    NULL::character varying AS campaign_id,
    i.order_id,
    (((('advertiser '::text || i.advertiser_id::text) || ', '::text) || to_char(i.month::timestamp with time zone, 'YYYY-MM'::text)) || ', '::text) || i.currency::text AS subject,
    COALESCE(l.amount, 0::numeric) AS expected,
    i.amount AS actual,
    'the invoices are not the sum of the entries of the month'::text AS explanation
   FROM ( SELECT invoices.month,
            invoices.advertiser_id,
            invoices.order_id,
            invoices.currency,
            sum(invoices.total_exact) AS amount
           FROM invoices
          GROUP BY invoices.month, invoices.advertiser_id, invoices.order_id, invoices.currency) i
     LEFT JOIN ( SELECT date_trunc('month'::text, booked.booked_on::timestamp with time zone)::date AS month,
            booked.advertiser_id,
            booked.order_id,
            booked.currency,
            sum(booked.amount) AS amount
           FROM ( SELECT spend_daily.booked_on,
                    spend_daily.advertiser_id,
                    spend_daily.order_id,
                    spend_daily.currency,
                    spend_daily.amount
                   FROM spend_daily
                UNION ALL
                 SELECT spend_ledger.booked_on,
                    spend_ledger.advertiser_id,
                    spend_ledger.order_id,
                    spend_ledger.currency,
                    spend_ledger.amount
                   FROM spend_ledger
                  WHERE spend_ledger.booked_at >= (( SELECT books_state.rolled_up_to
                           FROM books_state))) booked
          GROUP BY (date_trunc('month'::text, booked.booked_on::timestamp with time zone)::date), booked.advertiser_id, booked.order_id, booked.currency) l ON l.month = i.month AND l.advertiser_id::text = i.advertiser_id::text AND l.currency::text = i.currency::text AND COALESCE(l.order_id, ''::character varying)::text = COALESCE(i.order_id, ''::character varying)::text
  WHERE i.amount <> COALESCE(l.amount, 0::numeric)
UNION ALL
 SELECT 'invoice'::text AS rule,
    NULL::character varying AS campaign_id,
    i.order_id,
    'invoice '::text || i.number AS subject,
    COALESCE(d.amount, 0::numeric) AS expected,
    i.total_exact AS actual,
    'the exact total is not the sum of the lines'::text AS explanation
   FROM invoices i
     LEFT JOIN ( SELECT invoice_details.number,
            sum(invoice_details.amount) AS amount
           FROM invoice_details
          GROUP BY invoice_details.number) d USING (number)
  WHERE i.total_exact <> COALESCE(d.amount, 0::numeric)
UNION ALL
 SELECT 'invoice'::text AS rule,
    NULL::character varying AS campaign_id,
    NULL::character varying AS order_id,
    'invoice numbers'::text AS subject,
    n.expected,
    n.actual,
    'the numbers have holes'::text AS explanation
   FROM ( SELECT c.last_number AS expected,
            count(i.number) AS actual,
            COALESCE(max(i.number), 0::bigint) AS last
           FROM invoice_counter c
             LEFT JOIN invoices i ON true
          GROUP BY c.last_number) n
  WHERE n.expected <> n.actual OR n.last <> n.expected
UNION ALL
 SELECT 'delivery'::text AS rule,
    both_sides.campaign_id,
    NULL::character varying AS order_id,
    both_sides.hour || ' serves'::text AS subject,
    sum(both_sides.expected) AS expected,
    sum(both_sides.actual) AS actual,
    'the number of ads in the hour is not that of their serves'::text AS explanation
   FROM ( SELECT date_trunc('hour'::text, ad_serves.served_at, 'UTC'::text) AS hour,
            ad_serves.campaign_id,
            ad_serves.creative_id,
            ad_serves.placement_id,
            ad_serves.publisher_id,
            ad_serves.country,
            ad_serves.device_type,
            count(*) AS expected,
            0 AS actual
           FROM ad_serves
          WHERE ad_serves.served_on >= COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date AND ad_serves.served_at < (( SELECT delivery_state.rolled_up_to
                   FROM delivery_state))
          GROUP BY (date_trunc('hour'::text, ad_serves.served_at, 'UTC'::text)), ad_serves.campaign_id, ad_serves.creative_id, ad_serves.placement_id, ad_serves.publisher_id, ad_serves.country, ad_serves.device_type
        UNION ALL
         SELECT delivery_hourly.hour,
            delivery_hourly.campaign_id,
            delivery_hourly.creative_id,
            delivery_hourly.placement_id,
            delivery_hourly.publisher_id,
            delivery_hourly.country,
            delivery_hourly.device_type,
            0,
            delivery_hourly.serves
           FROM delivery_hourly
          WHERE delivery_hourly.hour >= (COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date::timestamp without time zone AT TIME ZONE 'UTC'::text)) both_sides
  WHERE both_sides.hour >= COALESCE(( SELECT (retention.dropped_before::timestamp without time zone AT TIME ZONE 'UTC'::text) AS timezone
           FROM retention
          WHERE retention.parent = 'ad_serves'::text), '-infinity'::timestamp with time zone)
  GROUP BY both_sides.hour, both_sides.campaign_id, both_sides.creative_id, both_sides.placement_id, both_sides.publisher_id, both_sides.country, both_sides.device_type
 HAVING sum(both_sides.expected) <> sum(both_sides.actual)
UNION ALL
 SELECT 'delivery'::text AS rule,
    both_sides.campaign_id,
    NULL::character varying AS order_id,
    (both_sides.hour || ' '::text) || both_sides.amount AS subject,
    sum(both_sides.expected) AS expected,
    sum(both_sides.actual) AS actual,
    ('the amount '::text || both_sides.amount) || ' in the hour is not that of the ledger'::text AS explanation
   FROM ( SELECT date_trunc('hour'::text, booked.booked_at, 'UTC'::text) AS hour,
            booked.campaign_id,
            booked.amount AS expected,
            0 AS actual,
                CASE
                    WHEN booked.kind = ANY (ARRAY['charge'::text, 'settle'::text]) THEN 'charged'::text
                    ELSE 'corrected'::text
                END AS amount
           FROM ( SELECT spend_ledger.booked_at,
                    spend_ledger.campaign_id,
                    spend_ledger.kind,
                    spend_ledger.amount
                   FROM spend_ledger
                UNION ALL
                 SELECT archived_charges.booked_at,
                    archived_charges.campaign_id,
                    archived_charges.kind,
                    archived_charges.amount
                   FROM archived_charges) booked
          WHERE booked.kind <> 'flat'::text AND booked.booked_at >= (COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date::timestamp without time zone AT TIME ZONE 'UTC'::text) AND booked.booked_at < (( SELECT delivery_state.rolled_up_to
                   FROM delivery_state))
        UNION ALL
         SELECT d.hour,
            d.campaign_id,
            0,
            n.actual,
            n.amount
           FROM delivery_hourly d
             CROSS JOIN LATERAL ( VALUES ('charged'::text,d.charged), ('corrected'::text,d.corrected)) n(amount, actual)
          WHERE d.hour >= (COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date::timestamp without time zone AT TIME ZONE 'UTC'::text)) both_sides
  WHERE both_sides.hour >= COALESCE(( SELECT (retention.dropped_before::timestamp without time zone AT TIME ZONE 'UTC'::text) AS timezone
           FROM retention
          WHERE retention.parent = 'ad_serves'::text), '-infinity'::timestamp with time zone) AND (both_sides.amount = 'charged'::text OR both_sides.hour > COALESCE(( SELECT max(c.closed_at) AS max
           FROM archived_months
             JOIN closed_months c USING (month)), '-infinity'::timestamp with time zone))
  GROUP BY both_sides.hour, both_sides.campaign_id, both_sides.amount
 HAVING sum(both_sides.expected) <> sum(both_sides.actual)
UNION ALL
 SELECT 'flat'::text AS rule,
    COALESCE(f.campaign_id, l.campaign_id) AS campaign_id,
    NULL::character varying AS order_id,
    'day '::text || COALESCE(f.day, l.day) AS subject,
    COALESCE(f.amount, 0::numeric) AS expected,
    COALESCE(l.amount, 0::numeric) AS actual,
    'the entries of the day are not its part of the flat price'::text AS explanation
   FROM ( SELECT flat_days.campaign_id,
            flat_days.day,
            flat_days.amount
           FROM flat_days
          WHERE flat_days.booked_at >= (COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date::timestamp without time zone AT TIME ZONE 'UTC'::text) AND NOT (EXISTS ( SELECT
                   FROM archived_months m
                  WHERE m.month = date_trunc('month'::text, flat_days.booked_on::timestamp without time zone)::date))) f
     FULL JOIN ( SELECT spend_ledger.campaign_id,
            COALESCE(spend_ledger.late_from, spend_ledger.booked_on) AS day,
            sum(spend_ledger.amount) AS amount
           FROM spend_ledger
          WHERE spend_ledger.kind = 'flat'::text AND spend_ledger.booked_at >= (COALESCE(NULLIF(current_setting('adserver.reconcile_since'::text, true), ''::text), '-infinity'::text)::date::timestamp without time zone AT TIME ZONE 'UTC'::text)
          GROUP BY spend_ledger.campaign_id, (COALESCE(spend_ledger.late_from, spend_ledger.booked_on))) l USING (campaign_id, day)
  WHERE COALESCE(f.amount, 0::numeric) <> COALESCE(l.amount, 0::numeric);
GRANT SELECT ON finance.reconciliation TO adserver_app;
GRANT SELECT ON finance.reconciliation TO adserver_finance;

-- finance.setup_changes: Every change of what is set up, one row for each changed key.
--   changed_at timestamp with time zone: When the change was committed
--   kind text: advertiser, campaign, creative, order, placement, publisher, upstream or webhook
--   id character varying: Id of the item
--   key text: Changed key, as in a campaign file; a budget is budgets.day, budgets.hour or budgets.lifetime
--   old text: Value before the change; NULL for none. A tag_url, url or secret is not shown, because it may be a password
--   new text: Value after the change; NULL for none
--   author text: Who made the change: as given with it, otherwise the database role
--   role text: Database role that made the change
--   source text: Campaign file, admin API or demo content; direct for a change by SQL
--   revision bigint: Revision of the catalog that the change made; of a change by SQL, the one it was made in
--   version integer: Number of the change of this item, from 1
CREATE VIEW finance.setup_changes AS
 SELECT h.changed_at,
    h.kind,
    h.id,
    k.key,
    s.old,
    s.new,
    h.author,
    h.role,
    h.source,
    h.revision,
    h.version
   FROM setup_history h
     CROSS JOIN LATERAL unnest(h.changed_keys) c(key)
     CROSS JOIN LATERAL ( SELECT c.key,
            h.old -> c.key AS old,
            h.new -> c.key AS new
          WHERE c.key <> 'budgets'::text
        UNION ALL
         SELECT 'budgets.'::text || b.period,
            (h.old -> 'budgets'::text) -> b.period,
            (h.new -> 'budgets'::text) -> b.period
           FROM jsonb_object_keys(COALESCE(h.old -> 'budgets'::text, '{}'::jsonb) || COALESCE(h.new -> 'budgets'::text, '{}'::jsonb)) b(period)
          WHERE c.key = 'budgets'::text AND ((h.old -> 'budgets'::text) -> b.period) IS DISTINCT FROM ((h.new -> 'budgets'::text) -> b.period)) k
     CROSS JOIN LATERAL ( SELECT
                CASE
                    WHEN k.key = ANY (ARRAY['tag_url'::text, 'url'::text, 'secret'::text]) THEN '(not shown)'::text
                    ELSE k.old #>> '{}'::text[]
                END AS old,
                CASE
                    WHEN k.key = ANY (ARRAY['tag_url'::text, 'url'::text, 'secret'::text]) THEN '(not shown)'::text
                    ELSE k.new #>> '{}'::text[]
                END AS new) s;
GRANT SELECT ON finance.setup_changes TO adserver_app;
GRANT SELECT ON finance.setup_changes TO adserver_finance;

-- finance.third_party_counts: Every count of a third party that was ever imported; the highest version of a day counts.
--   source character varying: Who counted
--   day date: Day in the campaign's time zone
--   campaign_id character varying: Campaign
--   version integer: Number of the count of this source, day and campaign, from 1
--   impressions bigint: Number of impressions that the source counted
--   recorded_at timestamp with time zone: When the count was imported
--   recorded_by text: Database role that imported the count
CREATE VIEW finance.third_party_counts AS
 SELECT source,
    day,
    campaign_id,
    version,
    impressions,
    recorded_at,
    recorded_by
   FROM third_party_counts;
GRANT SELECT ON finance.third_party_counts TO adserver_app;
GRANT SELECT ON finance.third_party_counts TO adserver_finance;

-- finance.unbilled_holds: Open holds: ads that were served and not yet billed.
--   campaign_id character varying: Campaign
--   order_id character varying: Order; NULL for none
--   advertiser text: Advertiser, who pays
--   publisher_id character varying: Publisher of the placement
--   currency character varying(3): Currency of the amounts
--   booked_on date: Day in the campaign's time zone to which they will be booked
--   held numeric: Sum of the holds
--   publisher_held numeric: The publisher's part of it
--   holds bigint: Number of holds
--   first_expires_at timestamp with time zone: When the first hold is released unless its ad is billed
--   last_expires_at timestamp with time zone: When the last hold is released unless its ad is billed
CREATE VIEW finance.unbilled_holds AS
 SELECT campaign_id,
    order_id,
    advertiser_name AS advertiser,
    publisher_id,
    currency,
    booked_on,
    sum(price) AS held,
    sum(publisher_amount) AS publisher_held,
    count(*) AS holds,
    min(expires_at) AS first_expires_at,
    max(expires_at) AS last_expires_at
   FROM holds
  GROUP BY campaign_id, order_id, advertiser_name, publisher_id, currency, booked_on;
GRANT SELECT ON finance.unbilled_holds TO adserver_app;
GRANT SELECT ON finance.unbilled_holds TO adserver_finance;
