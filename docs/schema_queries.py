"""Queries of Postgres' catalog that return the parts of docs/schema.sql as SQL, in an order that never changes."""

ROLES = """
SELECT rolname, (
    SELECT array_agg(format('%s = %L', split_part(setting, '=', 1), split_part(setting, '=', 2)) ORDER BY setting)
    FROM unnest(rolconfig) AS s (setting))
FROM pg_roles WHERE rolname LIKE 'adserver\\_%' ORDER BY rolname
"""
"""The roles and their settings."""

ROLE_LIMITS = """
SELECT format('ALTER ROLE %I CONNECTION LIMIT %s;', rolname, rolconnlimit)
FROM pg_roles WHERE rolname LIKE 'adserver\\_%' AND rolconnlimit >= 0
UNION ALL
SELECT format('GRANT %I TO %I;', r.rolname, m.member::regrole)
FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
WHERE m.member::regrole::text LIKE 'adserver\\_%'
ORDER BY 1
"""
"""The limits of connections, and the roles of Postgres that the roles are members of."""

RESERVED = """
SELECT 'temporary tables in the database' WHERE NOT has_database_privilege('public', current_database(), 'TEMPORARY')
UNION
SELECT format('function %s', p.proname) FROM pg_proc p, aclexplode(p.proacl) AS a
WHERE p.pronamespace = 'pg_catalog'::regnamespace AND a.grantee = 'adserver_owner'::regrole
    AND NOT has_function_privilege('public', p.oid, 'EXECUTE')
ORDER BY 1
"""
"""Privileges that Postgres grants to every role and that the migrations revoke."""

TABLE = """
SELECT obj_description(oid),
       coalesce(' PARTITION BY ' || pg_get_partkeydef(oid), '')
           || coalesce(' WITH (' || array_to_string(reloptions, ', ') || ')', '')
FROM pg_class WHERE oid = $1::text::regclass
"""

COLUMNS = """
SELECT concat_ws(' ', quote_ident(a.attname),
                 regexp_replace(regexp_replace(format_type(a.atttypid, a.atttypmod), 'character varying', 'varchar'),
                                'timestamp with time zone', 'timestamptz'),
                 CASE WHEN a.attcollation = '"C"'::regcollation THEN 'COLLATE "C"' END,
                 CASE WHEN a.attnotnull THEN 'NOT NULL' END,
                 CASE a.attgenerated WHEN 's' THEN 'GENERATED ALWAYS AS (' ELSE 'DEFAULT ' END
                     || regexp_replace(btrim(pg_get_expr(d.adbin, d.adrelid), E'\\n '), '\\s+', ' ', 'g')
                     || CASE a.attgenerated WHEN 's' THEN ') STORED' ELSE '' END,
                 CASE a.attidentity WHEN 'a' THEN 'GENERATED ALWAYS AS IDENTITY' END),
       col_description(a.attrelid, a.attnum)
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""

CONSTRAINTS = """
SELECT format('CONSTRAINT %I %s', conname, pg_get_constraintdef(oid, true)) FROM pg_constraint
WHERE conrelid = $1::text::regclass AND contype <> 'n'
ORDER BY array_position('{p,u,f,c}', contype), conname
"""
"""The primary key first; NOT NULL is in the columns."""

BELONGINGS = """
WITH relations AS (
    SELECT $1::text::regclass AS relation
    UNION ALL
    SELECT inhrelid FROM pg_inherits
    WHERE inhparent = $1::text::regclass AND inhrelid::regclass::text LIKE '%\\_default'
)
SELECT line FROM (
    SELECT 1, format('CREATE TABLE %s PARTITION OF %s DEFAULT;', relation, $1) FROM relations
    WHERE relation <> $1::text::regclass
    UNION ALL
    SELECT 2, regexp_replace(pg_get_indexdef(i.indexrelid), ' ON (ONLY )?public\\.', E'\n    ON ') || ';'
    FROM pg_index i
    WHERE i.indrelid = $1::text::regclass AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)
    UNION ALL
    SELECT 3, format(E'-- %s.\n%s;', obj_description(t.oid, 'pg_trigger'),
                     replace(pg_get_triggerdef(t.oid, true), ' FOR EACH ', E'\n    FOR EACH '))
              || CASE t.tgenabled WHEN 'A' THEN
                     format(E'\nALTER TABLE %s ENABLE ALWAYS TRIGGER %I;', relation, t.tgname) ELSE '' END
    FROM pg_trigger t JOIN relations ON t.tgrelid = relation WHERE NOT t.tgisinternal AND t.tgparentid = 0
    UNION ALL
    SELECT 4, format('GRANT %s ON %s TO %s;', string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type), $1,
                     a.grantee::regrole)
    FROM pg_class c, aclexplode(c.relacl) AS a
    WHERE c.oid = $1::text::regclass AND a.grantee <> c.relowner GROUP BY a.grantee
) AS belongings (position, line)
ORDER BY position, line
"""
"""The default partition, the indexes, the triggers and the privileges of a table."""

FUNCTIONS = """
SELECT obj_description(p.oid, 'pg_proc'), replace(pg_get_functiondef(p.oid), 'CREATE OR REPLACE', 'CREATE'),
       CASE WHEN p.proacl IS NULL THEN '{}' ELSE array_cat(
           ARRAY[format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC;', p.oid::regprocedure)],
           (SELECT array_agg(format('GRANT EXECUTE ON FUNCTION %s TO %s;', p.oid::regprocedure, a.grantee::regrole)
                             ORDER BY a.grantee::regrole::text)
            FROM aclexplode(p.proacl) AS a WHERE a.grantee <> p.proowner)) END
FROM pg_proc p WHERE p.pronamespace IN ('public'::regnamespace, 'finance'::regnamespace)
ORDER BY p.oid::regprocedure::text
"""

FINANCE = """
SELECT obj_description(n.oid), (
    SELECT array_agg(format('GRANT %s ON SCHEMA finance TO %s;', a.privilege_type, a.grantee::regrole)
                     ORDER BY a.grantee::regrole::text)
    FROM aclexplode(n.nspacl) AS a WHERE a.grantee <> n.nspowner)
FROM pg_namespace n WHERE n.nspname = 'finance'
"""

VIEWS = """
SELECT c.oid::regclass::text, obj_description(c.oid), pg_get_viewdef(c.oid, true), (
    SELECT array_agg(format('GRANT %s ON %s TO %s;', a.privilege_type, c.oid::regclass, a.grantee::regrole)
                     ORDER BY a.grantee::regrole::text)
    FROM aclexplode(c.relacl) AS a WHERE a.grantee <> c.relowner)
FROM pg_class c WHERE c.relnamespace = 'finance'::regnamespace AND c.relkind = 'v'
ORDER BY c.relname
"""

VIEW_COLUMNS = """
SELECT format('%s %s: %s', a.attname, format_type(a.atttypid, a.atttypmod), col_description(a.attrelid, a.attnum))
FROM pg_attribute a WHERE a.attrelid = $1::text::regclass AND a.attnum > 0
ORDER BY a.attnum
"""
