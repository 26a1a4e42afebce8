-- Creates the three roles that an ad server needs in its cluster. Roles that exist are kept; missing settings are added.
--
-- `adserver migrate` runs this if its user may create roles. If not, a superuser runs
--     psql -f migrations/roles.sql
-- once in each cluster, and sets a password for each role that is used to log in:
--     ALTER ROLE adserver_app LOGIN PASSWORD '...';
--
-- The timeouts are defaults of each role. The server's own connections set shorter ones.
DO $$
DECLARE
    setting record;
BEGIN
    FOR setting IN SELECT * FROM unnest(ARRAY['adserver_owner', 'adserver_app', 'adserver_finance']) AS r (name) LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = setting.name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', setting.name);
            EXCEPTION
                -- Another database of the cluster is being migrated at the same time.
                WHEN duplicate_object OR unique_violation THEN NULL;
                WHEN insufficient_privilege THEN
                    RAISE EXCEPTION 'role % does not exist and % may not create it: let a superuser run migrations/roles.sql',
                        setting.name, current_user USING ERRCODE = 'insufficient_privilege';
            END;
        END IF;
    END LOOP;
    FOR setting IN
        SELECT s.role, s.name, s.value, s.needed FROM (VALUES
            -- Rollups include entries older than two minutes, so no transaction may book with an older clock.
            ('adserver_app', 'transaction_timeout', '1min', true),
            ('adserver_app', 'idle_in_transaction_session_timeout', '1min', true),
            -- For how long a forgotten query can delay vacuum and DDL.
            ('adserver_finance', 'default_transaction_read_only', 'on', true),
            ('adserver_finance', 'statement_timeout', '10min', true),
            ('adserver_finance', 'transaction_timeout', '15min', true),
            ('adserver_finance', 'idle_in_transaction_session_timeout', '1min', true),
            ('adserver_finance', 'lock_timeout', '2s', true),
            ('adserver_finance', 'search_path', 'finance, public', true),
            -- A join of two tables with a partition for each day reads only the days that the query asks for.
            ('adserver_finance', 'enable_partitionwise_join', 'on', false),
            -- A query that sorts too much must not fill the disk that serving writes to. Only a superuser may set it.
            ('adserver_finance', 'temp_file_limit', '5GB', false)
        ) AS s (role, name, value, needed)
        JOIN pg_roles r ON r.rolname = s.role
        WHERE CASE s.role
            WHEN 'adserver_app' THEN NOT coalesce(r.rolconfig, '{}') @> ARRAY[s.name || '=' || s.value]
            -- Limits that an administrator set for finance are kept.
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
    -- Idle reports must not use up the connections of the database. A limit that an administrator set is kept.
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'adserver_finance' AND rolconnlimit = -1) THEN
        BEGIN
            ALTER ROLE adserver_finance CONNECTION LIMIT 20;
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE EXCEPTION 'role adserver_finance lacks CONNECTION LIMIT 20 and % may not set it: let a superuser run '
                'migrations/roles.sql', current_user USING ERRCODE = 'insufficient_privilege';
        END;
    END IF;
    -- The server may use the slots of `reserved_connections`. Only a superuser, or a member who may grant it, can ensure that.
    IF NOT pg_has_role('adserver_app', 'pg_use_reserved_connections', 'MEMBER') THEN
        BEGIN
            GRANT pg_use_reserved_connections TO adserver_app;
        EXCEPTION WHEN insufficient_privilege THEN NULL;
        END;
    END IF;
END
$$;
