//! Witnesses of audit logs: who remembers how far a log was, so that a log that was rolled back, cut or forked is seen.
//!
//! [`client`] is what a sidecar asks a witness with; [`server`] is a small witness (`keypod witness`) for two sidecars
//! that watch each other, or for one a node. Both speak [C2SP tlog-witness](https://c2sp.org/tlog-witness) and one call
//! more, `add-log`, because every start of a sidecar has a log and a key of its own: a certificate says whose it is and
//! where the log before it ended (`docs/witness.md`).
//!
//! Depends on [`crate::clock`], [`crate::file`], [`crate::secret`], [`crate::unreached`], and on [`crate::root`] for what
//! an authority's signature is. It knows nothing of entries, of keys that encrypt, or of a sidecar: a log is its
//! checkpoints and its certificates, and whoever has a log gives proofs through a trait.
//!
//! Invariants, each with its test: what a witness has answered survives its restart (`what_was_cosigned_survives_a_restart`);
//! of two that race for one size, one is cosigned (`of_two_that_race_one_is_cosigned`); a log that was rolled back is
//! refused at its start (`a_log_that_was_rolled_back_is_refused_at_its_start`), and so is the second one on a copy of a
//! disk (`a_second_log_on_a_copy_of_the_disk_is_refused`).

pub mod client;
mod keys;
mod protocol;
pub mod server;
mod state;
#[cfg(test)]
mod testing;

pub use keys::{AuthorityKey, CosignatureKey, CosigningKey, KeyError, LogKey};
pub use protocol::{Certificate, Previous};
pub use tlog_tiles::Hash;
