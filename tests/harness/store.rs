//! The key store's file, from beside the sidecar: to damage it, or to keep it busy.

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};

use crate::Sidecar;

impl Sidecar {
    /// Opens the store's file as a second program would.
    ///
    /// # Panics
    /// If it cannot be opened.
    pub async fn open_store(&self) -> SqliteConnection {
        let file = self.folder().join("keys.db");
        let options = SqliteConnectOptions::new().filename(file);
        options.connect().await.expect("the store's file opens")
    }

    /// Runs statements on the store's file.
    ///
    /// # Panics
    /// If one fails.
    pub async fn change_store(&self, statements: &str) {
        let mut store = self.open_store().await;
        let done = store.execute(AssertSqlSafe(statements.to_owned())).await;
        done.expect("the store's file can be changed");
    }
}
