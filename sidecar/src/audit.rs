//! The audit log: who did what, when, how, with which outcome and by which policy, committed before the answer leaves.
//!
//! The format on disk is `docs/audit-log.md`. Depends on [`crate::clock`] and [`crate::error_chain`]; a root's signature
//! comes in through [`Authority`]. It knows nothing of HTTP, of keys that encrypt, of a store, or of what an entry says.

mod authority;
mod bundle;
mod certificate;
mod chain;
mod disk;
mod error;
#[cfg(test)]
mod faults;
mod layout;
mod log;
mod note;
mod open_log;
mod plan;
mod queue;
mod receipt;
mod recover;
mod retention;
mod rotation;
mod settings;
mod start;
mod subscription;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tree;
mod writer;

pub use authority::{Authority, AuthorityError, AuthoritySignature, SignatureAlgorithm};
pub use error::{DiskError, LogError};
pub use log::{Log, LogStatus};
pub use receipt::{AppendError, Durability, Receipt};
pub use retention::{Compressed, OldLog};
pub use rotation::Rotated;
pub use settings::{LogSettings, Origin, OriginError};
pub use start::{Damage, Ended, LogStart, Previous};
pub use subscription::{Event, Subscription};
