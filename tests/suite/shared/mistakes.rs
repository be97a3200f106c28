//! What an operator can get wrong about a database: each mistake is said at start, with the mend, and no password.

use std::process::Command;

use keypod_test_servers::PostgresServer;
use keypod_tests::{SidecarBuilder, keypod};

use super::store;

#[tokio::test]
async fn mistakes_about_a_database_are_said_at_start_with_the_mend_and_show_no_password() {
    let store = store();
    let server = PostgresServer::shared();
    let right = store.store();
    let other_ca = server.other_ca_file().display().to_string();
    let ca = server.ca_file().display().to_string();
    let wrong = std::env::temp_dir().join(format!("keypod-wrong-password-{}", std::process::id()));
    std::fs::write(&wrong, "canary-wrong-password").unwrap();
    let password_line = right.lines().find(|line| line.starts_with("password_file")).unwrap();
    let user_line = format!("user = \"{}\"", store.role("sidecar"));
    let database = format!("database = \"{}\"", store.database());
    let cases = [
        (
            right.replace(password_line, &format!("password_file = \"{}\"", wrong.display())),
            "password",
        ),
        (right.replace(password_line, ""), "password"),
        (
            right.replace(password_line, "password_file = \"/nowhere/password\""),
            "/nowhere/password",
        ),
        (right.replace(&user_line, "user = \"nobody_here\""), "nobody_here"),
        (right.replace(&database, "database = \"nowhere\""), "nowhere"),
        (right.replace(&database, "database = \"postgres\""), "database postgres"),
        (right.replace(&ca, &other_ca), "certificate"),
        (right.replace("127.0.0.1", server.host_without_certificate()), "certificate"),
        (right.replace(&format!("port = {}", server.port()), "port = 1"), "port 1"),
        (format!("{right}schema = \"empty_one\"\n"), "keypod store migrate"),
    ];
    for (config, word) in cases {
        let builder = SidecarBuilder::new().root(&store.root()).store(&config);
        let (status, text) = builder.fail_to_start();
        assert_eq!(status.code(), Some(1), "{config}\n{text}");
        let last = text.lines().last().unwrap_or_default();
        assert!(last.contains(word), "{word:?} is not in: {last}\n{config}");
        assert!(
            !text.contains("canary-wrong-password") && !text.contains("sidecar-password"),
            "{text}"
        );
    }
    std::fs::remove_file(wrong).unwrap();
}

#[tokio::test]
async fn a_database_of_a_newer_keypod_is_refused_and_left_alone() {
    let store = store();
    let server = PostgresServer::shared();
    let newer = "INSERT INTO keypod._sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'later', true, '\\x00', 0)";
    server.sql(store.database(), newer);
    let (status, text) = store.sidecar().fail_to_start();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("newer") || text.contains("older than"), "{text}");
}

#[tokio::test]
async fn tables_are_made_once_and_never_by_a_sidecar() {
    let store = store();
    let config = std::env::temp_dir().join(format!("keypod-{}.toml", store.database()));
    std::fs::write(&config, format!("{}{}", store.root(), store.store())).unwrap();
    let migrate = |arguments: &[&str]| {
        let mut command = Command::new(keypod());
        command.args(["store", "migrate", "--json", "--config"]).arg(&config).args(arguments);
        command.output().unwrap()
    };
    let owner = store.role("owner");
    let password = store.owner_password_file().display().to_string();
    let again = migrate(&["--user", &owner, "--password-file", &password]);
    assert!(again.status.success(), "{again:?}");
    let told: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(told["from"], told["to"]);
    let server = PostgresServer::shared();
    let made = server.sql(
        store.database(),
        &format!("SELECT has_schema_privilege('{}', 'keypod', 'CREATE')", store.role("sidecar")),
    );
    assert_eq!(made, "f");
    std::fs::remove_file(config).unwrap();
}
