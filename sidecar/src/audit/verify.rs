//! Verifies a folder of audit logs: clean, open, unclean end, or tampered with, and where.
//!
//! Depends on [`super::reader`] and on [`crate::clock`] for times as they are written. It shares no code with what writes
//! the logs, so that one holds the other to `docs/audit-log.md`. What is verified: the authority's signature under each
//! certificate, the log's under its checkpoint, the witnesses', the tree over the entries, its tiles, the chain from log
//! to log, the form of each entry, and what somebody outside kept. It goes on after a problem, and lists all.
//! Invariants: the tests of `tests/suite/audit_logs`, an attack each.

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
use std::time::Duration;

use super::reader::{Folder, Listing, ReaderError, Unread};
use heads::{Head, read_heads};
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
    let heads = read_heads(&folder, &listing.logs, trust, &authorities, &mut findings);
    let judged = judge_all(&folder, &heads, trust, gather, progress);
    let logs = close_the_books(judged, trust, &mut findings);
    let verdict = verdict_of(&logs, &findings);
    Ok(Verification {
        verdict,
        trusts_itself: trust.authorities.is_none(),
        authorities: authorities.iter().map(ToString::to_string).collect(),
        entries: logs.iter().fold(0, |sum, log| sum.saturating_add(log.entries)),
        logs,
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

fn judge_all<G: Gather>(
    folder: &Folder,
    heads: &[Head],
    trust: &Trust,
    gather: &mut G,
    progress: &mut dyn FnMut(Progress),
) -> Vec<Judged> {
    let total = heads.iter().filter_map(|head| head.signed).map(|signed| signed.size);
    let total = total.fold(0, u64::saturating_add);
    let mut done = 0_u64;
    let mut all = Vec::with_capacity(heads.len());
    for (position, head) in heads.iter().enumerate() {
        let next = heads.get(position.saturating_add(1)..).unwrap_or_default();
        // Of two with one number, the next is not the one after.
        let next = next.iter().find(|next| next.name.number > head.name.number);
        let kept = trust.kept.iter().filter(|kept| Some(&*kept.origin) == head.origin()).collect();
        let mut advance = |more: u64| {
            done = done.saturating_add(more);
            progress(Progress { done, total });
        };
        all.push(judge_one(folder, head, next, kept, gather, &mut advance));
    }
    all
}

fn judge_one<G: Gather>(
    folder: &Folder,
    head: &Head,
    next: Option<&Head>,
    kept: Vec<&Kept>,
    gather: &mut G,
    progress: &mut dyn FnMut(u64),
) -> Judged {
    let previous = next.map(|next| {
        let certificate = next.certificate.as_ref();
        (next.name.number, certificate.and_then(|certificate| certificate.previous.as_ref()))
    });
    let Ok(log) = folder.log(&head.name) else { return unreadable(head) };
    let times = [Some(head), next].map(|head| head?.certificate.as_ref().map(|said| said.time));
    let ended =
        if let [Some(began), Some(followed)] = times { Some(began.max(followed)) } else { None };
    let signed = head.signed.map_or(0, |signed| signed.size);
    let found = previous.and_then(|(_, previous)| previous).map(|previous| previous.head.size);
    let marks = kept.iter().map(|kept| kept.head.size).chain(found).chain([signed]).collect();
    let number = head.name.number;
    let walk = Walk { log: &log, number, signed, marks, hashes: true, threads: threads(), gather };
    let walked: Walked = walk.run(progress);
    let closed = walked.said.last_close.is_some_and(|at| at.saturating_add(1) == walked.entries);
    // The lock is asked for only where it matters.
    let is_held = next.is_none() && !(closed && signed == walked.entries) && folder.is_held();
    Case { head, log: &log, ended, next: previous, kept, is_held, walked }.judge()
}

/// A log whose folder cannot be opened, which its head has told.
fn unreadable(head: &Head) -> Judged {
    let mut findings = Findings::default();
    head.findings.problems.iter().for_each(|problem| findings.problem(problem.clone()));
    Judged {
        report: LogReport {
            number: head.name.number,
            origin: None,
            state: LogState::Tampered,
            entries: 0,
            signed: 0,
            vouched_by_next: 0,
            vouched_by_nothing: 0,
            times_ms: None,
        },
        findings,
        missing: Findings::default(),
        ended: None,
        heads: [None, None],
        is_empty: false,
        prunes: Vec::new(),
        kept: Vec::new(),
    }
}

/// What can be said only when all logs have been read: which were pruned, and which that somebody kept are not here.
fn close_the_books(judged: Vec<Judged>, trust: &Trust, findings: &mut Findings) -> Vec<LogReport> {
    let prunes: Vec<_> = judged
        .iter()
        .flat_map(|log| {
            log.prunes.iter().map(|(at, prune)| (log.report.number, *at, prune.clone()))
        })
        .collect();
    for kept in &trust.kept {
        let here = judged.iter().any(|log| log.report.origin.as_deref() == Some(&*kept.origin));
        if !here {
            let what = format!(
                "a checkpoint of {} over {} entries was kept, and that log is not here: it was left out, or an older copy of the folder was put back",
                kept.origin, kept.head.size
            );
            findings.problem(Problem::of_folder(Wrong::Kept, what));
        }
    }
    let mut reports = Vec::with_capacity(judged.len());
    for mut log in judged {
        pruning(&mut log, &prunes, trust.retention_min);
        if !log.findings.is_clean() {
            log.report.state = LogState::Tampered;
        }
        reports.push(log.report);
        findings.append(log.findings);
    }
    reports
}

fn pruning(log: &mut Judged, prunes: &[(u64, u64, prunes::Prune)], least: Duration) {
    let number = log.report.number;
    let of_it = prunes.iter().find(|(_, _, prune)| prune.number == Some(number));
    let is_missing = log.is_empty || !log.missing.is_clean();
    let Some((by, at, prune)) = of_it else {
        if log.is_empty {
            let what = "the log has no entries, and no later log says that it was pruned";
            let problem = Problem::of_log(number, Wrong::EntriesMissing, what).at(0);
            return log.findings.problem(problem);
        }
        return log.findings.append(std::mem::take(&mut log.missing));
    };
    if *by <= number || !prune.is_of(log.report.origin.as_deref(), &log.heads) {
        let what =
            format!("`prune` does not name log {number} as it was: another origin, size or root");
        log.findings.problem(Problem::of_log(*by, Wrong::Prune, what).at(*at));
        return log.findings.append(std::mem::take(&mut log.missing));
    }
    // Without both certificates it cannot be said, and that they are not here has been told.
    if let Some(why) = log.ended.and_then(|ended| prune.too_early(ended, least)) {
        let what = format!("`prune` of log {number}: {why}");
        log.findings.problem(Problem::of_log(*by, Wrong::PrunedEarly, what).at(*at));
    }
    if !is_missing {
        let what = format!("log {by} says that this log was pruned, and its entries are here");
        return log.findings.remark(Some(number), None, what);
    }
    log.report.state = LogState::Pruned;
    if !log.is_empty {
        let what = format!("log {by} says that this log was pruned, and some of it is left");
        log.findings.remark(Some(number), None, what);
    }
    for kept in &log.kept {
        let known = log.heads.iter().flatten().find(|head| head.size == kept.head.size);
        match known {
            Some(head) if head.root != kept.head.root => {
                let what = "the root of the pruned log is not that of the checkpoint that was kept";
                log.findings.problem(Problem::of_log(number, Wrong::Kept, what));
            }
            Some(_) => {}
            None => {
                let what = "the log was pruned: the kept checkpoint cannot be held against it";
                log.findings.remark(Some(number), None, what);
            }
        }
    }
}

fn verdict_of(logs: &[LogReport], findings: &Findings) -> Verdict {
    let of_log = |log: &LogReport| match log.state {
        LogState::Closed | LogState::Pruned => Verdict::Clean,
        LogState::Open => Verdict::Open,
        LogState::UncleanEnd => Verdict::UncleanEnd,
        LogState::Tampered => Verdict::Tampered,
    };
    if !findings.is_clean() {
        return Verdict::Tampered;
    }
    logs.iter().map(of_log).max().unwrap_or(Verdict::Clean)
}
