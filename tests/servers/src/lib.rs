//! Real servers for tests. Each starts by itself on a free port and ends with the process that asked for it.
//!
//! One server of a kind serves all tests of a process; each test has a database, key or mount of its own in it. A
//! test that stops, restarts or breaks its server starts one for itself.

#![expect(clippy::unwrap_used, reason = "a test's server that cannot start ends the test")]

mod leash;
mod postgres;

pub use leash::Leash;
pub use postgres::PostgresServer;
