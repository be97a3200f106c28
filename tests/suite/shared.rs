//! Many sidecars on one PostgreSQL: what one changes the others see, and what a database that goes away does.

mod copy;
mod faults;
mod mistakes;
mod rotation;

use keypod_test_servers::PostgresServer;
use keypod_tests::{SharedStore, Sidecar};

/// A store of its own in the server that all tests share.
fn store() -> SharedStore {
    SharedStore::set_up(PostgresServer::shared())
}

/// So many sidecars on `store`, of which the first makes the key `demo`.
async fn sidecars(store: &SharedStore, many: usize) -> Vec<Sidecar> {
    let mut sidecars = vec![store.sidecar().key("demo").start().await];
    for _ in 1..many {
        sidecars.push(store.sidecar().start().await);
    }
    sidecars
}
