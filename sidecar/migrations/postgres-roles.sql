-- Least-privilege roles for a Keypod store in PostgreSQL, for psql. Safe to run again: it only ever adds what is
-- missing and takes away what is too much.
--
--   keypod_owner     owns the schema and its tables. For `keypod store migrate`, by hand or in a job, and for
--                    nothing else: no sidecar needs its password.
--   keypod_sidecar   what sidecars connect as. It reads and writes rows, exactly those columns that the program
--                    writes. It makes, alters and drops nothing, and reads nothing outside of the schema.
--
-- What to run, as a superuser (or the owner of the database, with CREATEROLE), in a database for Keypod alone:
--
--   1. createdb keypod
--   2. psql -d keypod -f postgres-roles.sql          makes roles and schema
--   3. psql -d keypod -c '\password keypod_owner' -c '\password keypod_sidecar'
--   4. keypod store migrate                           with `user = "keypod_owner"`: makes the tables
--   5. psql -d keypod -f postgres-roles.sql          again: now there are tables to grant rights on
--
-- Later, with a new version of Keypod: 4 and 5, before the new sidecars start.
--
-- Other names: psql -v schema=... -v owner=... -v sidecar=... In a database that other programs use too, add
-- -v shared=1: what every role may do there by default (connect, make temporary tables, use the schema "public")
-- is then left as it is, for the sidecar's role as well.

\set ON_ERROR_STOP on
\if :{?schema}
\else
    \set schema keypod
\endif
\if :{?owner}
\else
    \set owner keypod_owner
\endif
\if :{?sidecar}
\else
    \set sidecar keypod_sidecar
\endif
SELECT current_database() AS database \gset

-- The roles. They have no password yet, so nobody can connect as them where one is asked for.
SELECT format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION', role)
FROM unnest(ARRAY[:'owner', :'sidecar']) AS role
WHERE NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = role)
\gexec

-- The database: both may connect. Alone in it, nobody else may, and nobody but its owner makes anything.
\if :{?shared}
\else
    REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
    REVOKE ALL ON SCHEMA public FROM PUBLIC;
\endif
REVOKE ALL ON DATABASE :"database" FROM :"sidecar";
GRANT CONNECT ON DATABASE :"database" TO :"owner", :"sidecar";

-- The schema: the owner's. The sidecar may look into it and make nothing in it.
SELECT format('GRANT %I TO CURRENT_USER', :'owner')
WHERE NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
    AND NOT pg_has_role(current_user, :'owner', 'USAGE')
\gexec
SELECT format('CREATE SCHEMA %I AUTHORIZATION %I', :'schema', :'owner')
WHERE NOT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = :'schema')
\gexec
REVOKE ALL ON SCHEMA :"schema" FROM PUBLIC, :"sidecar";
GRANT USAGE ON SCHEMA :"schema" TO :"sidecar";

-- The tables, once `keypod store migrate` has made them.
SELECT to_regclass(format('%I._sqlx_migrations', :'schema')) IS NOT NULL AS migrated \gset
\if :migrated
    SET search_path = :"schema";
    BEGIN;
    REVOKE ALL ON ALL TABLES IN SCHEMA :"schema" FROM PUBLIC, :"sidecar";
    REVOKE ALL ON ALL FUNCTIONS IN SCHEMA :"schema" FROM PUBLIC, :"sidecar";
    -- Rights on columns are not taken away by the line for tables.
    SELECT format('REVOKE ALL (%I) ON %I.%I FROM %I', attname, :'schema', relname, :'sidecar')
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = :'schema')
        AND relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped AND attacl IS NOT NULL
    \gexec
    -- At which version the tables are.
    GRANT SELECT ON _sqlx_migrations TO :"sidecar";
    -- A key is made, and its primary version moves. Its id, name and limits do not, and it does not go.
    GRANT SELECT, INSERT, UPDATE (primary_version) ON keys TO :"sidecar";
    GRANT SELECT, INSERT, UPDATE (state, destroy_at, messages_used, bytes_used, revision) ON versions TO :"sidecar";
    -- Wrappings are put in and deleted, never altered in place.
    GRANT SELECT, INSERT, DELETE ON wrappings, approvals TO :"sidecar";
    GRANT SELECT, UPDATE (probe) ON health TO :"sidecar";
    COMMIT;
    RESET search_path;
    \echo 'Keypod: roles, schema and rights are as they should be.'
\else
    \echo 'Keypod: roles and schema are there. Set passwords, run "keypod store migrate" as the owner, then this again.'
\endif
