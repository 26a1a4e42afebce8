-- Makes the three roles of an ad server's cluster, or leaves those that are there.
--
-- `adserver migrate` runs this by itself where its user may create roles. Where it may not, a superuser runs
--     psql -f migrations/roles.sql
-- once in each cluster, and gives each role that somebody logs in as a password:
--     ALTER ROLE adserver_app LOGIN PASSWORD '...';
--
-- The time-outs are what each role starts with. The server's own connections set tighter ones.
DO $$
DECLARE
    setting record;
BEGIN
    FOR setting IN SELECT * FROM unnest(ARRAY['adserver_owner', 'adserver_app', 'adserver_finance']) AS r (name) LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = setting.name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', setting.name);
            EXCEPTION
                -- Another database of the cluster is migrated at the same moment.
                WHEN duplicate_object OR unique_violation THEN NULL;
                WHEN insufficient_privilege THEN
                    RAISE EXCEPTION 'role % does not exist and % may not create it: let a superuser run migrations/roles.sql',
                        setting.name, current_user USING ERRCODE = 'insufficient_privilege';
            END;
        END IF;
    END LOOP;
    FOR setting IN
        SELECT s.role, s.name, s.value, s.needed FROM (VALUES
            -- The rollups take in what is older than two minutes: no transaction may book with an older clock.
            ('adserver_app', 'transaction_timeout', '1min', true),
            ('adserver_app', 'idle_in_transaction_session_timeout', '1min', true),
            -- A forgotten query holds back vacuum and stands before DDL for this long at the most.
            ('adserver_finance', 'default_transaction_read_only', 'on', true),
            ('adserver_finance', 'statement_timeout', '10min', true),
            ('adserver_finance', 'transaction_timeout', '15min', true),
            ('adserver_finance', 'idle_in_transaction_session_timeout', '1min', true),
            ('adserver_finance', 'lock_timeout', '2s', true),
            ('adserver_finance', 'search_path', 'finance, public', true),
            -- Nor does a query that sorts too much fill the disk that ads are written to. Only a superuser may set it.
            ('adserver_finance', 'temp_file_limit', '5GB', false)
        ) AS s (role, name, value, needed)
        JOIN pg_roles r ON r.rolname = s.role
        WHERE CASE s.role
            WHEN 'adserver_app' THEN NOT coalesce(r.rolconfig, '{}') @> ARRAY[s.name || '=' || s.value]
            -- Other limits that finance was given stay.
            ELSE NOT EXISTS (SELECT FROM unnest(r.rolconfig) AS c WHERE starts_with(c, s.name || '=')) END
    LOOP
        BEGIN
            EXECUTE format('ALTER ROLE %I SET %I = %s', setting.role, setting.name,
                           CASE setting.name WHEN 'search_path' THEN setting.value ELSE quote_literal(setting.value) END);
        EXCEPTION WHEN insufficient_privilege THEN
            CONTINUE WHEN NOT setting.needed;
            RAISE EXCEPTION 'role % lacks % = % and % may not set it: let a superuser run migrations/roles.sql',
                setting.role, setting.name, setting.value, current_user USING ERRCODE = 'insufficient_privilege';
        END;
    END LOOP;
END
$$;
