//! The audit log of a running sidecar: what is in it when an answer comes, and what there is without a disk.
//!
//! What the log is worth against somebody who edits it is in `audit_logs`.

mod disk;
mod entries;
