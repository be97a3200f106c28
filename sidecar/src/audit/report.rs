//! A report of a folder of audit logs: one HTML page for who would rather look than read entries.
//!
//! Depends on [`super::verify`], which reads the log and hands the entries over. What is counted is bounded, however
//! long the log is and whatever is in it; what is past a bound is counted as one. The page needs no script and no
//! network, and every text of an entry is escaped on its way into it.
//! Invariant: `what_an_entry_says_is_text_on_the_page_and_nothing_else`.

mod chart;
mod counts;
mod page;
mod tally;
#[cfg(test)]
mod tests;

use std::path::Path;

use super::verify::{Progress, Trust, Verification, VerifyError, verify};
use crate::clock::UnixSeconds;
use tally::Tally;

/// What there is to show.
#[derive(Debug)]
pub struct Report {
    verification: Verification,
    tally: Tally,
}

/// Reads and verifies the folder at `path`, and counts.
///
/// # Errors
/// The folder cannot be read at all, or there is no authority to trust.
pub fn report(
    path: &Path,
    trust: &Trust,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, VerifyError> {
    let mut tally = tally::Counter::default();
    let verification = verify(path, trust, &mut tally, progress)?;
    Ok(Report { verification, tally: tally.into_tally() })
}

impl Report {
    /// What the verification found.
    #[must_use]
    pub fn verification(&self) -> &Verification {
        &self.verification
    }

    /// The page. `made` is when, and `trust` what the verification went by.
    #[must_use]
    pub fn to_html(&self, made: UnixSeconds, trust: &Trust) -> String {
        page::page(&self.verification, &self.tally, made, trust)
    }
}
