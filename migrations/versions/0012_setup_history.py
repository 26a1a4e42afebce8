"""The history of what is set up: every change with its old and new values, its time and its author.

Revision ID: 0012
Revises: 0011
"""

from alembic import op
from sqlalchemy import ARRAY, BigInteger, CheckConstraint, Integer, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from migrations.columns import Identifier, Timestamp, allowed_values, key_column, optional, required

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

KINDS = "advertiser campaign creative order placement publisher upstream webhook"

# The tables of each kind of item, with the column that has the item's id. What belongs to an item is part of it.
NOTED_TABLES = (
    ("publishers", "publisher", "id"),
    ("advertisers", "advertiser", "id"),
    ("orders", "order", "id"),
    ("configured_budgets", "order", "order_id"),
    ("upstreams", "upstream", "id"),
    ("campaigns", "campaign", "id"),
    ("configured_budgets", "campaign", "campaign_id"),
    ("campaign_caps", "campaign", "campaign_id"),
    ("campaign_upstreams", "campaign", "campaign_id"),
    ("creatives", "creative", "id"),
    ("placements", "placement", "id"),
    ("placement_campaigns", "placement", "placement_id"),
)

# As in a campaign file: exact, with at least two decimals.
AMOUNT_TEXT = """
CREATE FUNCTION amount_text(amount numeric) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN scale(trim_scale(amount)) < 2 THEN round(amount, 2) ELSE trim_scale(amount) END::text
"""

# Rows as they are, so that a new column is part of the history without a word here; money as text, because JSON's numbers
# become floats in many programs. A campaign has its advertiser's id and not its name: a new name changes the advertiser,
# not its campaigns. What an order may spend is shown where it is not simply its budget, as with prepaid orders. Of a secret,
# only a part of its hash is shown. A later revision creates the webhooks.
SETUP_ITEM = """
CREATE FUNCTION setup_item(its_kind text, its_id text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp
AS $$
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
$$
"""

# The key of unrecorded_setup makes transactions that change the same item wait for each other, so that the later one
# records what both have changed.
NOTE_SETUP_CHANGE = """
CREATE FUNCTION note_setup_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
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
$$
"""

# Compared with the last version, a row that was deleted and inserted again is no change. The time is that of the commit:
# until then, ads were served by the old terms.
RECORD_NOTED_CHANGES = """
CREATE FUNCTION record_noted_changes() RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp SET timezone = 'UTC'
    SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $$
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
$$
"""

# It runs at COMMIT, once for each noted item, and the first time records all of them: the notes that a transaction sees
# are its own.
RECORD_SETUP_CHANGES = """
CREATE FUNCTION record_setup_changes() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM unrecorded_setup u WHERE u.kind = NEW.kind AND u.id = NEW.id) THEN
        PERFORM record_noted_changes();
    END IF;
    RETURN NULL;
END
$$
"""

# Not even a superuser writes here, except through the triggers of the setup.
KEEP_SETUP_HISTORY = """
CREATE FUNCTION keep_setup_history() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pg_trigger_depth() > 1 AND TG_OP = ANY (TG_ARGV) THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'the history of the setup is written by triggers alone, and never changed or removed'
        USING ERRCODE = 'integrity_constraint_violation';
END
$$
"""

SETUP_CHANGES = """
SELECT h.changed_at, h.kind, h.id, k.key, s.old, s.new, h.author, h.role, h.source, h.revision, h.version
FROM public.setup_history h
CROSS JOIN LATERAL unnest(h.changed_keys) AS c (key)
CROSS JOIN LATERAL (
    SELECT c.key, h.old -> c.key AS old, h.new -> c.key AS new WHERE c.key <> 'budgets'
    UNION ALL
    SELECT 'budgets.' || b.period, h.old -> 'budgets' -> b.period, h.new -> 'budgets' -> b.period
    FROM jsonb_object_keys(coalesce(h.old -> 'budgets', '{}') || coalesce(h.new -> 'budgets', '{}')) AS b (period)
    WHERE c.key = 'budgets' AND h.old -> 'budgets' -> b.period IS DISTINCT FROM h.new -> 'budgets' -> b.period
) AS k
CROSS JOIN LATERAL (
    SELECT CASE WHEN k.key IN ('tag_url', 'url', 'secret') THEN '(not shown)' ELSE k.old #>> '{}' END AS old,
           CASE WHEN k.key IN ('tag_url', 'url', 'secret') THEN '(not shown)' ELSE k.new #>> '{}' END AS new
) AS s
"""

SETUP_CHANGES_COLUMNS = {
    "changed_at": "When the change was committed",
    "kind": "advertiser, campaign, creative, order, placement, publisher, upstream or webhook",
    "id": "Id of the item",
    "key": "Changed key, as in a campaign file; a budget is budgets.day, budgets.hour or budgets.lifetime",
    "old": "Value before the change; NULL for none. A tag_url, url or secret is not shown, because it may be a password",
    "new": "Value after the change; NULL for none",
    "author": "Who made the change: as given with it, otherwise the database role",
    "role": "Database role that made the change",
    "source": "Campaign file, admin API or demo content; direct for a change by SQL",
    "revision": "Revision of the catalog that the change made; of a change by SQL, the one it was made in",
    "version": "Number of the change of this item, from 1",
}

FUNCTIONS = {
    "amount_text(numeric)": (AMOUNT_TEXT, "An amount as text, exact, with at least two decimals"),
    "setup_item(text, text)": (SETUP_ITEM, "An item as it is set up now, like an entry of a campaign file"),
    "note_setup_change()": (NOTE_SETUP_CHANGE, "Notes that the item of a row has changed"),
    "record_noted_changes()": (RECORD_NOTED_CHANGES, "Records the changes of the noted items in setup_history"),
    "record_setup_changes()": (RECORD_SETUP_CHANGES, "Records the changes of the noted items if that is not done yet"),
    "keep_setup_history()": (KEEP_SETUP_HISTORY, "Lets only the triggers of the setup write its history"),
}

# Both run as the owner; nobody calls them but triggers.
INTERNALS = ("setup_item(text, text)", "note_setup_change()", "record_noted_changes()", "record_setup_changes()")

ITEMS_BEFORE_THE_HISTORY = """
INSERT INTO unrecorded_setup (kind, id)
SELECT 'publisher', id FROM publishers UNION ALL SELECT 'advertiser', id FROM advertisers
UNION ALL SELECT 'order', id FROM orders UNION ALL SELECT 'upstream', id FROM upstreams
UNION ALL SELECT 'campaign', id FROM campaigns UNION ALL SELECT 'creative', id FROM creatives
UNION ALL SELECT 'placement', id FROM placements
"""


def upgrade() -> None:
    create_setup_history()
    create_unrecorded_setup()
    for function, (statement, comment) in FUNCTIONS.items():
        op.execute(statement)
        op.execute(f"COMMENT ON FUNCTION {function} IS '{comment}'")
    for function in INTERNALS:
        op.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
    record_at_commit()
    note_changes()
    keep_history()
    op.execute(f"CREATE VIEW finance.setup_changes AS {SETUP_CHANGES}")
    op.execute(
        "COMMENT ON VIEW finance.setup_changes IS 'Every change of what is set up, one row for each changed key'"
    )
    for column, comment in SETUP_CHANGES_COLUMNS.items():
        op.execute(f"COMMENT ON COLUMN finance.setup_changes.{column} IS '{comment}'")
    op.execute("GRANT SELECT ON setup_history TO adserver_app")
    op.execute("GRANT SELECT ON finance.setup_changes TO adserver_finance, adserver_app")


def downgrade() -> None:
    op.execute("DROP VIEW finance.setup_changes")
    for table, kind, _ in NOTED_TABLES:
        op.execute(f"DROP TRIGGER {kind}_change_is_noted ON {table}")
        op.execute(f"DROP TRIGGER {kind}_truncation_is_noted ON {table}")
    op.drop_table("unrecorded_setup")
    for function in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION {function} CASCADE")
    op.drop_table("setup_history")


def create_setup_history() -> None:
    op.create_table(
        "setup_history",
        key_column("kind", Text, "advertiser, campaign, creative, order, placement, publisher, upstream or webhook"),
        key_column("id", Identifier, "Id of the item"),
        key_column("version", Integer, "Number of the change of this item, from 1"),
        required("changed_at", Timestamp, "When the change was committed"),
        required("revision", BigInteger, "Revision of the catalog after the change"),
        optional("old", JSONB, "The item before the change, like an entry of a campaign file; NULL for a new item"),
        optional("new", JSONB, "The item after the change; NULL for a deleted item"),
        required("changed_keys", ARRAY(Text), "Keys whose values differ"),
        required("author", Text, "Who made the change: as given with it, otherwise the database role"),
        required("role", Text, "Database role that made the change", server_default=text("SESSION_USER")),
        required("source", Text, "Campaign file, admin API or demo content; direct for a change by SQL"),
        allowed_values("history_kind_is_known", "kind", KINDS),
        CheckConstraint("old IS DISTINCT FROM new", name="history_has_only_changes"),
        comment="Every change of what is set up; append-only, written by triggers alone",
    )
    op.create_index("setup_history_changed_at_idx", "setup_history", ["changed_at"])


def create_unrecorded_setup() -> None:
    op.create_table(
        "unrecorded_setup",
        key_column("kind", Text, "Kind of the item, as in setup_history"),
        key_column("id", Identifier, "Id of the item"),
        comment="Items that the running transaction has changed; its commit records and deletes them",
    )


def record_at_commit() -> None:
    create_trigger(
        "setup_is_recorded",
        "unrecorded_setup",
        "CREATE CONSTRAINT TRIGGER {name} AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION record_setup_changes()",
        "Records what the transaction has changed when it commits",
    )
    # Items that are older than the history begin it.
    op.execute("SELECT set_config('adserver.source', 'migration', true)")
    op.execute(ITEMS_BEFORE_THE_HISTORY)
    op.execute("SET CONSTRAINTS ALL IMMEDIATE")


def note_changes() -> None:
    for table, kind, column in NOTED_TABLES:
        create_trigger(
            f"{kind}_change_is_noted",
            table,
            "CREATE TRIGGER {name} AFTER INSERT OR UPDATE OR DELETE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION note_setup_change('{kind}', '{column}')",
            f"Notes the change of the {kind}",
        )
        create_trigger(
            f"{kind}_truncation_is_noted",
            table,
            "CREATE TRIGGER {name} AFTER TRUNCATE ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION note_setup_change('{kind}')",
            f"Notes the change of every {kind}",
        )


def keep_history() -> None:
    for table, operations in (("setup_history", "'INSERT'"), ("unrecorded_setup", "'INSERT', 'DELETE'")):
        create_trigger(
            "history_is_kept",
            table,
            "CREATE TRIGGER {name} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION keep_setup_history({operations})",
            "Rejects every statement that is not a trigger''s",
        )


def create_trigger(name: str, table: str, statement: str, comment: str) -> None:
    """Create a trigger that also fires with session_replication_role = replica."""
    op.execute(statement.format(name=name, table=table))
    op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")
    op.execute(f"COMMENT ON TRIGGER {name} ON {table} IS '{comment}'")
