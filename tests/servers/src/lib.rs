//! Real servers for tests. Each starts by itself on a free port and ends with the process that asked for it.
//!
//! One server of a kind serves all tests of a process; each test has a database, key or mount of its own in it. A
//! test that stops, restarts or breaks its server starts one for itself.

#![expect(clippy::unwrap_used, reason = "a test's server that cannot start ends the test")]

mod fault_proxy;
mod go_program;
mod kms_stand_in;
mod kubernetes;
mod leash;
mod moto;
mod plain_http;
mod postgres;
mod vault;

pub use fault_proxy::{Fault, FaultProxy};
pub use kms_stand_in::{Answer, KmsStandIn, Seen};
pub use kubernetes::KubernetesServer;
pub use leash::Leash;
pub use moto::MotoServer;
pub use postgres::PostgresServer;
pub use vault::{Certificates, VaultServer, VaultTls};
