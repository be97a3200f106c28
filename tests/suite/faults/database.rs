//! The database file: damaged, somebody else's, of another time, or in use. None of these is written to.

use std::fs::OpenOptions;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use keypod_tests::{Sidecar, SidecarBuilder};
use serde_json::json;

use super::{assert_nothing_is_lost, assert_says, sql, stopped, stopped_with};

/// How a whole database is damaged, and what the message must say.
type Damage = (&'static str, fn(&Path), &'static [&'static str]);

const DAMAGES: [Damage; 6] = [
    ("truncated", |path| truncate(path, 2), &["restore", "backup"]),
    ("cut in its first page", |path| set_length(path, 700), &["restore", "backup"]),
    ("emptied", |path| set_length(path, 0), &["empty", "backup"]),
    ("scribbled over its schema", |path| scribble(path, 100, 900), &["restore", "backup"]),
    ("scribbled over its pages", |path| scribble(path, 8192, 20_000), &["restore", "backup"]),
    (
        "replaced by a text",
        |path| std::fs::write(path, "patients: 42\n".repeat(100)).unwrap(),
        &["not an SQLite database", "store.sqlite"],
    ),
];

fn set_length(path: &Path, length: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

fn truncate(path: &Path, part: u64) {
    set_length(path, std::fs::metadata(path).unwrap().len() / part);
}

fn scribble(path: &Path, from: u64, bytes: usize) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(from)).unwrap();
    file.write_all(&vec![0xa5; bytes]).unwrap();
}

fn database(sidecar: &Sidecar) -> std::path::PathBuf {
    sidecar.folder().join("keys.db")
}

#[tokio::test]
async fn a_damaged_database_is_refused_unchanged_and_its_backup_works() {
    for (damage, apply, words) in DAMAGES {
        let (sidecar, ciphertext) = stopped().await;
        let path = database(&sidecar);
        let backup = std::fs::read(&path).unwrap();
        apply(&path);
        let damaged = std::fs::read(&path).unwrap();
        assert_ne!(damaged, backup, "{damage}");
        let words: Vec<_> = words.iter().copied().chain(["keys.db"]).collect();
        assert_says(sidecar.fail_to_start_another(&[]), Some(1), &words);
        assert_eq!(std::fs::read(&path).unwrap(), damaged, "{damage}: it was written to");
        std::fs::write(&path, backup).unwrap();
        assert_nothing_is_lost(sidecar, &ciphertext).await;
    }
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_unchanged() {
    let builder = SidecarBuilder::new();
    builder.write();
    let path = builder.folder().join("keys.db");
    std::fs::File::create(&path).unwrap();
    sql(&path, "CREATE TABLE patients (name TEXT); INSERT INTO patients VALUES ('x')".to_owned())
        .await;
    let before = std::fs::read(&path).unwrap();
    let words = ["keys.db", "another program's database", "store.sqlite"];
    assert_says(builder.run_serve(&[]), Some(1), &words);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let (sidecar, ciphertext) = stopped().await;
    sql(&database(&sidecar), "PRAGMA user_version = 9".to_owned()).await;
    let words = ["keys.db", "newer Keypod", "run that version"];
    assert_says(sidecar.fail_to_start_another(&[]), Some(1), &words);
    sql(&database(&sidecar), "PRAGMA user_version = 1".to_owned()).await;
    assert_nothing_is_lost(sidecar, &ciphertext).await;
}

#[tokio::test]
async fn a_table_that_keypod_did_not_make_is_refused() {
    let (sidecar, ciphertext) = stopped().await;
    sql(&database(&sidecar), "CREATE TABLE notes (text TEXT)".to_owned()).await;
    let words = ["keys.db", "notes", "drop it or restore a backup"];
    assert_says(sidecar.fail_to_start_another(&[]), Some(1), &words);
    sql(&database(&sidecar), "DROP TABLE notes".to_owned()).await;
    assert_nothing_is_lost(sidecar, &ciphertext).await;
}

#[tokio::test]
async fn a_second_sidecar_on_one_store_is_told_who_has_it_and_harms_nobody() {
    let sidecar = Sidecar::start().await;
    let owner = format!("process {}", sidecar.pid());
    let words = ["keys.db", "in use by another sidecar", owner.as_str(), "store.sqlite"];
    assert_says(sidecar.fail_to_start_another(&[]), Some(1), &words);
    let other = sidecar.folder().join("other.sock").display().to_string();
    let variables = [("KEYPOD_LISTEN__UNIX", other.as_str())];
    assert_says(sidecar.fail_to_start_another(&variables), Some(1), &words);
    let client =
        keypod_tests::Client::unix(&sidecar.socket(), Some("admin-token-0123456789abcdefghij"));
    client.encrypt("demo", b"still there", &json!({})).await;
}

#[tokio::test]
async fn a_store_whose_folder_is_missing_says_so() {
    let builder = SidecarBuilder::new().variable("KEYPOD_STORE__SQLITE", "/nonexistent/keys.db");
    let words = ["/nonexistent/keys.db", "create the folder", "store.sqlite"];
    assert_says(builder.fail_to_start(), Some(1), &words);
}

#[tokio::test]
async fn a_database_that_everybody_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let (sidecar, ciphertext) = stopped_with(SidecarBuilder::new().key("demo")).await;
    let set_mode = |mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(database(&sidecar), mode).unwrap();
    };
    set_mode(0o666);
    let words = ["keys.db", "every user can write it", "chmod 600"];
    assert_says(sidecar.fail_to_start_another(&[]), Some(1), &words);
    set_mode(0o660);
    assert_nothing_is_lost(sidecar, &ciphertext).await;
}
