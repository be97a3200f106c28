//! Verifies a folder of audit logs: clean, open, unclean end, or tampered with, and where.
//!
//! Depends on [`super::reader`] and on [`crate::clock`] for times as they are written. It shares no code with what writes
//! the logs, so that one holds the other to `docs/audit-log.md`. What is verified: the authority's signature under each
//! certificate, the log's under its checkpoint, the witnesses', the tree over the entries, its tiles, the chain from log
//! to log, the form of each entry, and what somebody outside kept. It goes on after a problem, and lists all.
//! Invariants: the tests of `tests/suite/audit_logs`, an attack each.

mod books;
mod entry;
mod frontier;
mod gather;
mod heads;
mod judge;
mod key;
mod look;
mod notes;
mod prunes;
mod tiles;
mod trust;
mod verdict;
mod walk;

use std::collections::BTreeSet;
use std::path::Path;

use super::reader::{Folder, Listing, ReaderError, Unread};
use books::Books;
use heads::{Head, Heads};
use judge::{Case, Judged};
use walk::{Walk, Walked};

pub use entry::{Entry, EntryProblem, Item, Moved, rfc3339};
pub use gather::{Gather, Place};
pub use key::{KeyError, VerifyingKey};
pub(crate) use look::read_tile;
pub use notes::{Certificate, Checkpoint, NoteProblem, Previous, TreeHead};
pub(crate) use notes::{SIZE_MAX, Signed, SignedText, decimal, root_hash};
pub use trust::{Kept, KeptError, Trust};
use verdict::Findings;
pub use verdict::{LogReport, LogState, Problem, Remark, Verdict, Verification, Wrong};

/// Most threads that hash.
const THREADS_MAX: usize = 8;

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The folder cannot be read.
    #[error("cannot read the audit logs")]
    Reader(#[source] ReaderError),
    /// No keys were given, and the folder has none.
    #[error(
        "the folder has no list of authorities that can be used: name their keys with --authority FILE"
    )]
    NoAuthorities(#[source] AuthoritiesError),
}

/// What is wrong with the folder's own list of authorities.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthoritiesError {
    /// It cannot be read.
    #[error("the file `authorities` {0}")]
    Unread(Unread),
    /// It is no text.
    #[error("the file `authorities` is no text")]
    NoText,
    /// It holds something else than keys.
    #[error("the file `authorities` is no list of keys")]
    Keys(#[source] KeyError),
}

/// How much of the work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Entries done.
    pub done: u64,
    /// Entries that the checkpoints are over.
    pub total: u64,
}

/// Verifies the folder at `path` by what `trust` brings, and hands each entry to `gather`.
///
/// # Errors
/// There is no such folder, no log in it, or no authority to trust. Whatever else is wrong is in the answer.
pub fn verify<G: Gather>(
    path: &Path,
    trust: &Trust,
    gather: &mut G,
    progress: &mut dyn FnMut(Progress),
) -> Result<Verification, VerifyError> {
    let folder = Folder::open(path).map_err(VerifyError::Reader)?;
    let listing = match folder.list() {
        // Whoever kept a checkpoint knows that there was a log.
        Err(ReaderError::NoLogs) if !trust.kept.is_empty() => {
            Listing { logs: Vec::new(), strays: Vec::new() }
        }
        other => other.map_err(VerifyError::Reader)?,
    };
    let authorities = match &trust.authorities {
        Some(keys) => keys.clone(),
        None if listing.logs.is_empty() => Vec::new(),
        None => own_authorities(&folder).map_err(VerifyError::NoAuthorities)?,
    };
    let mut findings = Findings::default();
    for stray in &listing.strays {
        findings.remark(None, None, format!("{stray:?} in the folder is no part of a log"));
    }
    let mut heads = Heads::new(&folder, &listing.logs, trust, &authorities, &mut findings);
    let mut books = Books::new();
    judge_all(&mut heads, gather, progress, &mut |log| books.enter(log, trust, &mut findings));
    let verdict = books.close(&mut heads, trust, &mut findings);
    Ok(Verification {
        verdict,
        trusts_itself: trust.authorities.is_none(),
        authorities: authorities.iter().map(ToString::to_string).collect(),
        logs: books.logs,
        more_logs: books.more_logs,
        entries: books.entries,
        times_ms: books.times_ms,
        problems: findings.problems,
        more_problems: findings.more_problems,
        remarks: findings.remarks,
    })
}

/// Hands each entry of the folder at `path` to `gather`, and verifies nothing.
///
/// # Errors
/// There is no such folder, or no log in it.
pub fn read_unverified<G: Gather>(path: &Path, gather: &mut G) -> Result<(), ReaderError> {
    let folder = Folder::open(path)?;
    for name in folder.list()?.logs {
        let Ok(log) = folder.log(&name) else { continue };
        let signed = log.checkpoint().ok().and_then(|bytes| Kept::from_checkpoint(&bytes).ok());
        let walk = Walk {
            log: &log,
            number: name.number,
            signed: signed.map_or(0, |kept| kept.head.size),
            marks: BTreeSet::new(),
            hashes: false,
            threads: threads(),
            gather,
        };
        walk.run(&mut |_| {});
        if gather.has_enough() {
            break;
        }
    }
    Ok(())
}

fn own_authorities(folder: &Folder) -> Result<Vec<VerifyingKey>, AuthoritiesError> {
    let bytes = folder.authorities().map_err(AuthoritiesError::Unread)?;
    let text = String::from_utf8(bytes).map_err(|_| AuthoritiesError::NoText)?;
    Trust::parse_authorities(&text).map_err(AuthoritiesError::Keys)
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get().min(THREADS_MAX))
}

/// Judges one log after the other: of no more than two there is anything in memory.
fn judge_all<G: Gather>(
    heads: &mut Heads<'_>,
    gather: &mut G,
    progress: &mut dyn FnMut(Progress),
    take: &mut dyn FnMut(Judged),
) {
    let total = heads.total();
    let mut done = 0_u64;
    for position in 0..heads.count() {
        let Some(head) = heads.take(position) else { continue };
        let (folder, trust) = (heads.folder, heads.trust);
        let next = heads.after(position);
        let kept = trust.kept.iter().filter(|kept| Some(&*kept.origin) == head.origin()).collect();
        let mut advance = |more: u64| {
            done = done.saturating_add(more);
            progress(Progress { done, total });
        };
        take(judge_one(folder, head, next, kept, gather, &mut advance));
    }
}

fn judge_one<G: Gather>(
    folder: &Folder,
    head: Head,
    next: Option<&Head>,
    kept: Vec<&Kept>,
    gather: &mut G,
    progress: &mut dyn FnMut(u64),
) -> Judged {
    let Ok(log) = folder.log(&head.name) else { return Judged::unread(head, None) };
    let signed = head.signed.map_or(0, |signed| signed.size);
    let found = head.found(next);
    let marks = kept.iter().map(|kept| kept.head.size).chain(found.map(|found| found.size));
    let marks = marks.chain([signed]).collect();
    let number = head.name.number;
    let walk = Walk { log: &log, number, signed, marks, hashes: true, threads: threads(), gather };
    let walked: Walked = walk.run(progress);
    let closed = walked.said.last_close.is_some_and(|at| at.saturating_add(1) == walked.entries);
    // The lock is asked for only where it matters.
    let is_held = next.is_none() && !(closed && signed == walked.entries) && folder.is_held();
    let (ended, next) = (head.ended(next), next.map(|next| next.name.number));
    Case { head: &head, log: &log, ended, next, found, kept, is_held, walked }.judge()
}
