//! What an operator can get wrong and what a machine can break: each fault has a message that says what to do,
//! and none of them loses a key.

mod config;
mod database;
mod disk;
mod listen;
mod root;
mod rows;

use std::path::Path;
use std::process::ExitStatus;

use keypod_tests::{Client, Sidecar, SidecarBuilder};
use serde_json::json;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

/// EX_CONFIG: the exit code for what has to be mended in the configuration or in a file that it names.
const CONFIGURATION: Option<i32> = Some(78);

/// Panics unless it failed with this code and a last line that holds all of `words`.
#[track_caller]
fn assert_says((status, text): (ExitStatus, String), code: Option<i32>, words: &[&str]) {
    let last = text.lines().last().unwrap_or_default();
    assert_eq!(status.code(), code, "{text}");
    for word in words {
        assert!(last.contains(word), "{word:?} is not in: {last}");
    }
    assert!(!last.contains("RUST_BACKTRACE") && !text.contains("panicked"), "{text}");
}

/// A sidecar that was started, has sealed one message under `demo`, and was stopped in order.
async fn stopped() -> (Sidecar, String) {
    stopped_with(SidecarBuilder::new().key("demo")).await
}

async fn stopped_with(builder: SidecarBuilder) -> (Sidecar, String) {
    let mut sidecar = builder.start().await;
    let ciphertext = sidecar.client().encrypt("demo", b"before", &json!({})).await;
    assert!(sidecar.stop().await.success());
    (sidecar, ciphertext)
}

/// Panics unless this sidecar, which is stopped, starts and opens the message of [`stopped`].
async fn assert_nothing_is_lost(mut sidecar: Sidecar, ciphertext: &str) {
    sidecar.restart().await;
    assert_eq!(sidecar.client().decrypt(ciphertext, &json!({})).await, b"before");
    sidecar.client().encrypt("demo", b"after", &json!({})).await;
}

/// Runs SQL on a database that no sidecar has open.
pub(crate) async fn sql(database: &Path, statements: String) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// What encrypting one message answers: its status and code.
async fn encrypts(client: &Client, key: &str) -> (u16, String) {
    let body = json!({ "key": key, "plaintext": "AAAA" });
    let answer = client.post_json("/v1/encrypt", &body).await;
    (answer.status, answer.code())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
