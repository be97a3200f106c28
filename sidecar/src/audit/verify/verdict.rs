//! What a verification comes to: a verdict, and every problem with its place and in plain words.
//!
//! Depends on nothing. Nothing here is longer than a bound, however much is wrong with a folder.

use std::fmt;

use serde::Serialize;

/// Problems that are told one by one; what is past that is counted.
const PROBLEMS_MAX: usize = 1000;
/// Notes that are told one by one.
const NOTES_MAX: usize = 1000;

/// The word for a folder or for a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Verdict {
    /// Every log ended in order, and everything is as it was signed.
    #[serde(rename = "clean")]
    Clean,
    /// As clean, and the last log is being written now.
    #[serde(rename = "open")]
    Open,
    /// A sidecar ended without closing its log: killed, or its machine failed. Nothing contradicts a signature.
    #[serde(rename = "unclean end")]
    UncleanEnd,
    /// Something contradicts a signature, is missing, or was deleted before its time.
    #[serde(rename = "tampered")]
    Tampered,
}

/// As it is said.
impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Clean => "clean",
            Self::Open => "open",
            Self::UncleanEnd => "unclean end",
            Self::Tampered => "tampered",
        })
    }
}

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Wrong {
    /// A file is missing, is a link, is too long, or cannot be read.
    File,
    /// A certificate is not of its form, or is another log's.
    Certificate,
    /// No trusted authority signed the certificate.
    Authority,
    /// A number of the chain is missing or there twice.
    Number,
    /// A certificate does not continue the log before it.
    Previous,
    /// A log of another chain: another pod's.
    Origin,
    /// A checkpoint is missing, not of its form, or another log's.
    Checkpoint,
    /// The log's own key did not sign its checkpoint.
    CheckpointSignature,
    /// Too few witnesses cosigned.
    Witnesses,
    /// Entries that were signed are not there.
    EntriesMissing,
    /// Entries are there that cannot be.
    EntriesAdded,
    /// An entry is not the one that was signed.
    EntryChanged,
    /// The entries do not have the root that was signed, and nothing says which of them it is.
    Root,
    /// A tile of hashes is missing or is not of the entries.
    Tile,
    /// An entry is not of the form.
    Entry,
    /// A log does not begin with `start`, or that names another certificate.
    Start,
    /// A log goes on after `close`.
    Close,
    /// A log was pruned other than a `prune` entry says.
    Prune,
    /// A log was pruned before its time was over.
    PrunedEarly,
    /// What somebody kept of the log is not in it.
    Kept,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The number of the log; `None` for the folder.
    pub log: Option<u64>,
    /// The entry, or the first of those that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
    /// The file, below the log's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Of which kind.
    pub kind: Wrong,
    /// In plain words.
    pub what: String,
}

impl Problem {
    pub(crate) fn of_folder(kind: Wrong, what: impl Into<String>) -> Self {
        Self { log: None, entry: None, file: None, kind, what: what.into() }
    }

    pub(crate) fn of_log(log: u64, kind: Wrong, what: impl Into<String>) -> Self {
        Self { log: Some(log), ..Self::of_folder(kind, what) }
    }

    pub(crate) fn at(mut self, entry: u64) -> Self {
        self.entry = Some(entry);
        self
    }

    pub(crate) fn in_file(mut self, file: impl Into<String>) -> Self {
        self.file = Some(file.into());
        self
    }
}

/// `log 3, entry 17, tile/0/000: ...`
impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut place = Vec::new();
        place.extend(self.log.map(|log| format!("log {log}")));
        place.extend(self.entry.map(|entry| format!("entry {entry}")));
        place.extend(self.file.clone());
        if place.is_empty() {
            place.push("the folder".to_owned());
        }
        write!(formatter, "{}: {}", place.join(", "), self.what)
    }
}

/// Something that is worth knowing, and no problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// The number of the log; `None` for the folder.
    pub log: Option<u64>,
    /// The entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
    /// In plain words.
    pub what: String,
}

/// `log 3, entry 17: ...`
impl fmt::Display for Remark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.log, self.entry) {
            (Some(log), Some(entry)) => write!(formatter, "log {log}, entry {entry}: ")?,
            (Some(log), None) => write!(formatter, "log {log}: ")?,
            _ => {}
        }
        formatter.write_str(&self.what)
    }
}

/// How a log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogState {
    /// It ended with `close`, and that is signed.
    Closed,
    /// It is being written.
    Open,
    /// It ended without a signed `close`.
    UncleanEnd,
    /// Its entries went by the retention rule.
    Pruned,
    /// Something is wrong with it.
    Tampered,
}

/// One log.
#[derive(Clone, Debug, Serialize)]
pub struct LogReport {
    /// Its number in the chain.
    pub number: u64,
    /// Its origin, if its certificate can be read.
    pub origin: Option<String>,
    /// How it is.
    pub state: LogState,
    /// Entries that are there.
    pub entries: u64,
    /// Entries that its own checkpoint vouches for.
    pub signed: u64,
    /// Entries after those that only the next log's certificate vouches for.
    pub vouched_by_next: u64,
    /// Entries after those that nothing vouches for.
    pub vouched_by_nothing: u64,
    /// Times of its first and last entry, in milliseconds since 1970.
    pub times_ms: Option<[u64; 2]>,
}

/// What a verification found.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// In a word.
    pub verdict: Verdict,
    /// The authorities' keys came with the folder: this proves only that it agrees with itself.
    pub trusts_itself: bool,
    /// The keys of the authorities that were trusted, by name and id.
    pub authorities: Vec<String>,
    /// The logs, in order, the first hundred thousand.
    pub logs: Vec<LogReport>,
    /// Logs that are not listed.
    pub more_logs: u64,
    /// How many entries there are.
    pub entries: u64,
    /// Times of the first and the last of them, in milliseconds since 1970.
    pub times_ms: Option<[u64; 2]>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Problems that are not listed.
    pub more_problems: u64,
    /// What is worth knowing.
    pub remarks: Vec<Remark>,
}

impl Verification {
    /// How many logs there are, listed or not.
    #[must_use]
    pub fn log_count(&self) -> u64 {
        self.more_logs.saturating_add(self.logs.len() as u64)
    }
}

/// Collects what is found, within bounds.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) problems: Vec<Problem>,
    pub(crate) more_problems: u64,
    pub(crate) remarks: Vec<Remark>,
}

impl Findings {
    pub(crate) fn problem(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        } else {
            self.more_problems = self.more_problems.saturating_add(1);
        }
    }

    pub(crate) fn remark(&mut self, log: Option<u64>, entry: Option<u64>, what: impl Into<String>) {
        if self.remarks.len() < NOTES_MAX {
            self.remarks.push(Remark { log, entry, what: what.into() });
        }
    }

    /// Takes over what `other` found.
    pub(crate) fn append(&mut self, other: Self) {
        other.problems.into_iter().for_each(|problem| self.problem(problem));
        self.more_problems = self.more_problems.saturating_add(other.more_problems);
        for remark in other.remarks {
            self.remark(remark.log, remark.entry, remark.what);
        }
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.problems.is_empty() && self.more_problems == 0
    }
}
