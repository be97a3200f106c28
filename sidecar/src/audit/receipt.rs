//! What an append comes to: a receipt, or why there is none.

use std::sync::Arc;

/// When an entry counts as committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// On disk, each entry with a flush of its own.
    Sync,
    /// On disk; entries that come while a flush runs share the next.
    #[default]
    Group,
    /// With the kernel: a crash of the machine, but not of the process, may lose the last of them.
    Async,
}

/// Proof that an entry is committed. Only the log makes one, and no success is answered without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt(Option<(Arc<str>, u64)>);

impl Receipt {
    pub(super) fn new(log: Arc<str>, index: u64) -> Self {
        Self(Some((log, index)))
    }

    /// For an operation that goes on without an entry, where `audit.on_failure` allows that.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// The origin of the log that has the entry, and its number in that log, from 0.
    #[must_use]
    pub fn place(&self) -> Option<(&str, u64)> {
        self.0.as_ref().map(|(log, index)| (&**log, *index))
    }
}

#[cfg(test)]
impl Receipt {
    pub(super) fn log(&self) -> &str {
        self.place().unwrap().0
    }

    pub(super) fn index(&self) -> u64 {
        self.place().unwrap().1
    }
}

/// Why an entry is not committed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The disk refused it. The reason is in words for an operator.
    #[error("the audit log cannot be written: {reason}")]
    Refused {
        /// What the system said.
        reason: Arc<str>,
    },
    /// The disk did not take it in time; it may be committed yet.
    #[error("the audit log was not written in time (audit.commit_timeout)")]
    TooSlow,
    /// More entries wait than the queue holds.
    #[error("too many entries wait for the audit log")]
    QueueFull,
    /// The log is closed: the sidecar stops.
    #[error("the audit log is closed")]
    Closed,
    /// It is longer than a bundle can hold: a defect of whoever made it.
    #[error("an entry of {bytes} bytes is longer than the 65,535 that one can have")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}
