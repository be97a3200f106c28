//! What the sidecar's role may do, and nothing else.

use super::*;

/// What the sidecar's role is told when it runs `sql`.
async fn denied(store: &PostgresStore, sql: &str) -> String {
    let mut held = store.connections.acquire().await.unwrap();
    match sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut *held).await {
        Ok(_) => unreachable!("the sidecar's role may do this: {sql:?}"),
        Err(error) => {
            assert_eq!(
                error.as_database_error().unwrap().code().unwrap(),
                "42501",
                "{sql:?}: {error}"
            );
            error.to_string()
        }
    }
}

#[tokio::test]
async fn a_sidecar_s_role_reads_and_writes_rows_and_nothing_else() {
    let database = Database::new("least");
    let store = database.open().await;
    database.sql(
        "CREATE TABLE public.patients (id int); CREATE SCHEMA other; CREATE TABLE other.t (id int)",
    );
    store.insert_key(&sample_key("kept", 1)).await.unwrap();
    for sql in [
        "CREATE TABLE keypod.more (id int)",
        "CREATE TABLE public.more (id int)",
        "CREATE TEMPORARY TABLE more (id int)",
        "CREATE SCHEMA more",
        "CREATE ROLE more",
        "ALTER TABLE keypod.keys ADD COLUMN more int",
        "DROP TABLE keypod.approvals",
        "DROP TRIGGER told ON keypod.keys",
        "ALTER TABLE keypod.keys DISABLE TRIGGER told",
        "TRUNCATE keypod.wrappings",
        "CREATE FUNCTION keypod.more() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DELETE FROM keypod.keys",
        "DELETE FROM keypod.versions",
        "DELETE FROM keypod.health",
        "INSERT INTO keypod.health VALUES (1, false)",
        "UPDATE keypod.keys SET name = 'other'",
        "UPDATE keypod.keys SET id = '\\x0000000000000000'",
        "UPDATE keypod.versions SET version = 7",
        "UPDATE keypod.versions SET created_at = 0",
        "UPDATE keypod.wrappings SET wrapped = 'x'",
        "UPDATE keypod.approvals SET requested_by = 'somebody else'",
        "UPDATE keypod._sqlx_migrations SET version = 9",
        "DELETE FROM keypod._sqlx_migrations",
        "SELECT * FROM public.patients",
        "SELECT * FROM other.t",
        "SELECT * FROM pg_authid",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY keypod.keys TO PROGRAM 'cat'",
        "SET ROLE keypod_owner",
        "GRANT keypod_owner TO keypod_sidecar",
    ] {
        denied(&store, sql).await;
    }
    let own = PostgresSettings { schema: "of_its_own".to_owned(), ..database.settings() };
    let refused = PostgresStore::migrate(&own).await.unwrap_err().to_string();
    assert!(refused.contains("keypod store roles"), "{refused}");
    assert_eq!(store.list_keys().await.unwrap(), [sample_key("kept", 1)]);
}

#[tokio::test]
async fn the_roles_file_can_be_run_again_and_takes_away_what_is_too_much() {
    let database = Database::new("again");
    let store = database.open().await;
    database.sql(
        "GRANT ALL ON ALL TABLES IN SCHEMA keypod TO keypod_sidecar; \
         GRANT UPDATE (name) ON keypod.keys TO keypod_sidecar; \
         GRANT ALL ON SCHEMA keypod TO keypod_sidecar; GRANT SELECT ON keypod.keys TO PUBLIC",
    );
    for _ in 0..2 {
        let printed = database.roles("keypod");
        assert!(printed.contains("as they should be"), "{printed}");
    }
    denied(&store, "UPDATE keypod.keys SET name = 'other'").await;
    denied(&store, "DELETE FROM keypod.keys").await;
    denied(&store, "CREATE TABLE keypod.more (id int)").await;
    assert_eq!(
        database.sql("SELECT count(*) FROM information_schema.table_privileges WHERE grantee = 'PUBLIC' AND table_schema = 'keypod'"),
        "0"
    );
    store.insert_key(&sample_key("kept", 1)).await.unwrap();
}

#[test]
fn the_shipped_roles_are_those_of_the_tests() {
    assert!(PostgresStore::ROLES.contains("keypod_sidecar"));
    assert!(!PostgresStore::ROLES.to_lowercase().contains("password '"));
}
