//! Shows on a terminal how far a transfer is.
//!
//! Depends on [`super::plan`]. It draws on standard error, and only if that is a terminal, nothing else is drawn
//! on the same terminal, and there is enough to do to be worth it.

use std::io::{IsTerminal as _, stderr, stdin};

use indicatif::{ProgressBar, ProgressStyle};

use super::plan::Plan;
use crate::cli::output;

/// Fewer bytes are moved before a bar could be read.
const WORTHWHILE_BYTES: u64 = 8 << 20;

/// A bar, or nothing.
#[derive(Clone, Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// A bar for `plan`, hidden where it would be in the way.
    pub(super) fn of(plan: &Plan) -> Self {
        let in_the_way = !stderr().is_terminal()
            || (plan.writes_to_stdout() && output::is_terminal())
            || (plan.bytes.is_none() && stdin().is_terminal());
        if in_the_way || plan.bytes.is_some_and(|bytes| bytes < WORTHWHILE_BYTES) {
            return Self::hidden();
        }
        let template = match plan.bytes {
            Some(_) => "{bar:40} {percent:>3}% {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            None => "{spinner} {bytes} {bytes_per_sec}",
        };
        let bar = plan.bytes.map_or_else(ProgressBar::no_length, ProgressBar::new);
        match ProgressStyle::with_template(template) {
            Ok(style) => Self(bar.with_style(style)),
            Err(_) => Self::hidden(),
        }
    }

    /// Nothing to be seen.
    pub(super) fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Counts `bytes` more.
    pub(super) fn advance(&self, bytes: usize) {
        self.0.inc(bytes as u64);
    }

    /// Takes the bar away while `write` writes.
    pub(super) fn suspend(&self, write: impl FnOnce()) {
        self.0.suspend(write);
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
