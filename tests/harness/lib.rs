//! What the suites share: a real sidecar as a child process, and clients to talk to it.
//!
//! A [`Sidecar`] lives in a folder of its own, listens on ports that the system chose and on a socket in that
//! folder, and ends when it is dropped. Nothing here waits for a fixed time: waits are for events, and bounded.

mod audit;
mod binary;
mod client;
mod data;
mod observe;
mod problem;
mod raw;
mod shared_store;
mod sidecar;
mod skip;
mod store;

pub use audit::AuditEntry;
pub use binary::keypod;
pub use client::{Answer, Client, in_chunks};
pub use data::{fhir_resources, repository, shared_data};
pub use observe::until;
pub use raw::Raw;
pub use shared_store::SharedStore;
pub use sidecar::{Sidecar, SidecarBuilder, WAIT_MAX};
pub use skip::skip;
