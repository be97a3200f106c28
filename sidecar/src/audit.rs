//! The audit log: who did what, when, how, with which outcome and by which policy, committed before the answer leaves.
//!
//! The format on disk is `docs/audit-log.md`. Depends on [`crate::names`], [`crate::clock`] and [`crate::file`]; a
//! root's signature comes in through a trait. It knows nothing of HTTP, of keys that encrypt, or of a store.

pub mod prove;
pub mod query;
pub mod reader;
mod receipt;
pub mod report;
pub mod verify;

pub use receipt::{AppendError, Durability, Receipt};
