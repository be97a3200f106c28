//! Logs that went by the retention rule, and the entries that say so.
//!
//! Depends on [`super::entry`] and [`super::notes`]. That a log was deleted is believed if an entry says so that something
//! vouches for; that its time was over is not, and is held against the certificates.

use std::time::Duration;

use super::entry::Entry;
use super::notes::{TreeHead, root_hash, whole_seconds};
use crate::clock::UnixSeconds;

/// What a `prune` entry says of the log that was deleted. What is missing or malformed in it is `None`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prune {
    pub(super) number: Option<u64>,
    pub(super) origin: Option<String>,
    pub(super) head: Option<TreeHead>,
    /// When the entry was written.
    time: UnixSeconds,
    /// When the log ended, as its sidecar believed.
    ended: Option<UnixSeconds>,
    /// How long it was to be kept.
    retention: Option<Duration>,
}

impl Prune {
    pub(super) fn of(entry: &Entry<'_>) -> Self {
        let size = entry.detail_number("size");
        let root = entry.detail_text("root").and_then(root_hash);
        Self {
            number: entry.detail_number("number"),
            origin: entry.detail_text("origin").map(str::to_owned),
            head: size.zip(root).map(|(size, root)| TreeHead { size, root }),
            time: UnixSeconds(entry.time_ms / 1000),
            ended: entry.detail_text("ended").and_then(whole_seconds),
            retention: entry.detail_number("retention_s").map(Duration::from_secs),
        }
    }

    /// Whether it speaks of the log with this origin, whose states were `heads`.
    pub(super) fn is_of(&self, origin: Option<&str>, heads: &[Option<TreeHead>]) -> bool {
        self.origin.as_deref() == origin && self.head.is_some() && heads.contains(&self.head)
    }

    /// Why the log, which ended at `ended` by the certificates, was not due: it had to be kept for `least` in any case.
    /// `None` if it was.
    pub(super) fn too_early(&self, ended: UnixSeconds, least: Duration) -> Option<String> {
        let (Some(said), Some(retention)) = (self.ended, self.retention) else {
            return Some(
                "it does not say when that log ended, and how long it was kept".to_owned(),
            );
        };
        let (time, seconds) = (self.time, retention.as_secs());
        if said != ended {
            return Some(format!(
                "it says that log ended at {said}, and by the certificates it was {ended}"
            ));
        }
        if ended.after(retention) > time {
            return Some(format!(
                "that log ended at {ended}, was to be kept for {seconds} seconds, and was deleted at {time}"
            ));
        }
        let short = retention < least;
        short.then(|| {
            format!("that log was kept for {seconds} seconds, and not for {}", least.as_secs())
        })
    }
}
