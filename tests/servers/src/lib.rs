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
mod otlp_collector;
mod plain_http;
mod postgres;
mod python;
mod rsyslog;
mod vault;

pub use fault_proxy::{Fault, FaultProxy};
pub use kms_stand_in::{Answer, KmsStandIn, Seen};
pub use kubernetes::KubernetesServer;
pub use leash::Leash;
pub use moto::MotoServer;
pub use otlp_collector::OtlpCollector;
pub use postgres::PostgresServer;
pub use rsyslog::Rsyslog;
pub use vault::{Certificates, VaultServer, VaultTls};

/// The JSON lines of a file that may still be written to: its last line may be there in part, and is then left out.
fn json_lines(path: &std::path::Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.filter_map(|line| serde_json::from_str(line).ok()).collect()
}
