//! What the entries of a log come to, held against what was signed of them.
//!
//! Depends on [`super::heads`] and [`super::walk`].

use tlog_tiles::Hash;

use super::heads::Head;
use super::notes::TreeHead;
use super::prunes::Prune;
use super::tiles::{Difference, sound_level};
use super::trust::Kept;
use super::verdict::{Findings, LogReport, LogState, Problem, Wrong};
use super::walk::Walked;
use crate::audit::reader::{LogFolder, Unread};
use crate::clock::UnixSeconds;

/// Everything that a log is judged by.
pub(super) struct Case<'a> {
    pub(super) head: &'a Head,
    pub(super) log: &'a LogFolder,
    /// When it ended: when it or the next one was certified, whichever is later.
    pub(super) ended: Option<UnixSeconds>,
    /// The number of the next log; `None` for the last one of the folder.
    pub(super) next: Option<u64>,
    /// What the next certificate says of it.
    pub(super) found: Option<TreeHead>,
    pub(super) kept: Vec<&'a Kept>,
    /// It is the last log, and a sidecar holds the lock.
    pub(super) is_held: bool,
    pub(super) walked: Walked,
}

/// A log that has been judged, but for what pruning would excuse.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) report: LogReport,
    pub(super) findings: Findings,
    /// What is no problem if the log was pruned.
    pub(super) missing: Findings,
    /// When it ended.
    pub(super) ended: Option<UnixSeconds>,
    /// Its states, of which a `prune` entry names one.
    pub(super) heads: [Option<TreeHead>; 2],
    /// Not one entry is there, and some were signed.
    pub(super) is_empty: bool,
    /// Prunings that it tells, in entries that something vouches for.
    pub(super) prunes: Vec<(u64, Prune)>,
    pub(super) kept: Vec<Kept>,
}

impl Judged {
    /// A log of which no entries are read.
    pub(super) fn unread(head: Head, next: Option<&Head>) -> Self {
        let (heads, ended) = ([head.signed, head.found(next)], head.ended(next));
        Self {
            report: LogReport {
                number: head.name.number,
                origin: head.origin().map(str::to_owned),
                state: LogState::Tampered,
                entries: 0,
                signed: 0,
                vouched_by_next: 0,
                vouched_by_nothing: 0,
                times_ms: None,
            },
            findings: head.findings,
            missing: Findings::default(),
            ended,
            heads,
            is_empty: false,
            prunes: Vec::new(),
            kept: Vec::new(),
        }
    }
}

impl Case<'_> {
    fn problem(&mut self, kind: Wrong, at: Option<u64>, what: impl Into<String>) {
        let problem = Problem::of_log(self.head.name.number, kind, what);
        self.walked.findings.problem(match at {
            Some(entry) => problem.at(entry),
            None => problem,
        });
    }

    fn signed(&self) -> u64 {
        self.head.signed.map_or(0, |head| head.size)
    }

    /// Judges it.
    pub(super) fn judge(mut self) -> Judged {
        let heads = [self.head.signed, self.found];
        let is_empty = self.walked.is_empty && heads.iter().flatten().any(|head| head.size > 0);
        let kept = self.kept.iter().map(|&kept| kept.clone()).collect();
        if !is_empty {
            self.judge_entries();
            let sound = self.judge_signed();
            self.judge_found(sound);
            self.judge_end();
            self.judge_said();
            self.judge_kept();
        }
        let (report, ended) = (self.report(), self.ended);
        let vouched = report.signed.max(heads[1].map_or(0, |head| head.size));
        let Walked { missing, mut findings, said, .. } = self.walked;
        let prunes = said.prunes.into_iter().filter(|(at, _)| *at < vouched).collect();
        let mut all = Findings::default();
        all.append(Findings {
            problems: self.head.findings.problems.clone(),
            ..Findings::default()
        });
        all.append(std::mem::take(&mut findings));
        Judged { report, findings: all, missing, ended, heads, is_empty, prunes, kept }
    }

    /// Entries that are none.
    fn judge_entries(&mut self) {
        let problems = std::mem::take(&mut self.walked.said.problems);
        for (at, why) in problems {
            self.problem(Wrong::Entry, Some(at), format!("the entry {why}"));
        }
        let more = self.walked.said.more_problems;
        self.walked.findings.more_problems =
            self.walked.findings.more_problems.saturating_add(more);
    }

    /// The checkpoint's root. Says whether the entries have it.
    fn judge_signed(&mut self) -> bool {
        let differences = std::mem::take(&mut self.walked.differences);
        self.walked.findings.more_problems =
            self.walked.findings.more_problems.saturating_add(differences.more);
        let mut differences = differences.list;
        let Some(signed) = self.head.signed else { return true };
        if self.checkpoint_has_moved() {
            let gone = Some(Unread::Missing);
            differences.retain(|difference| difference.unread != gone);
        }
        let root = self.walked.roots.get(&signed.size).copied();
        let mut sound_from = None;
        if root.is_some_and(|root| root != signed.root) {
            sound_from = sound_level(self.log, signed.size, signed.root);
            let named = sound_from.is_some_and(|level| {
                differences.iter().any(|found| found.level == level && found.unread.is_none())
            });
            if !named {
                let last = signed.size.saturating_sub(1);
                let what = format!(
                    "entries 0 to {last} do not have the root that the checkpoint has: one of them was changed, and the hashes on disk with it, or the checkpoint"
                );
                self.problem(Wrong::Root, None, what);
            }
        } else if root.is_none() {
            // Entries are missing, which has been told; those that are there are still held against sound tiles.
            sound_from = sound_level(self.log, signed.size, signed.root);
        }
        let changed =
            |found: &Difference| Some(found.level) == sound_from && found.unread.is_none();
        let changed: Vec<_> = differences.iter().filter(|found| changed(found)).cloned().collect();
        for difference in differences {
            // A tile above a changed entry differs because of that.
            let follows = changed.iter().any(|below| below.is_below(&difference));
            if !follows {
                self.difference(&difference, sound_from, signed.size);
            }
        }
        root == Some(signed.root)
    }

    fn difference(&mut self, difference: &Difference, sound_from: Option<u8>, size: u64) {
        let number = self.head.name.number;
        let (first, last) = difference.entries();
        let last = last.min(size.saturating_sub(1));
        let path = difference.path(size);
        if let Some(why) = &difference.unread {
            let what = format!("the tile of hashes {why}");
            let problem = Problem::of_log(number, Wrong::Tile, what).at(first).in_file(path);
            return self.walked.missing.problem(problem);
        }
        if sound_from != Some(difference.level) {
            let what = "the tile of hashes is not of the entries that are there";
            let problem = Problem::of_log(number, Wrong::Tile, what).at(first).in_file(path);
            return self.walked.findings.problem(problem);
        }
        let what = if first == last {
            "the entry is not the one that was signed".to_owned()
        } else if difference.level == 0 {
            format!("entries {first} to {last} are not those that were signed")
        } else {
            format!(
                "one or more of the entries {first} to {last} is not what was signed, and the hashes on disk were changed with it"
            )
        };
        self.problem(Wrong::EntryChanged, Some(first), what);
    }

    /// Whether a sidecar has signed a newer checkpoint since, and taken away the partial tiles of the one that was read.
    fn checkpoint_has_moved(&self) -> bool {
        let now = self.log.checkpoint().ok().and_then(|bytes| {
            let kept = Kept::from_checkpoint(&bytes).ok()?;
            Some(kept.head)
        });
        self.is_held && now.is_some_and(|now| now.size > self.signed())
    }

    /// What the next log's sidecar found of it.
    fn judge_found(&mut self, is_sound: bool) {
        let Some(found) = self.found else { return };
        let Some(next) = self.next else { return };
        let signed = self.signed();
        let entries = self.walked.entries;
        if found.size < signed {
            let what = format!(
                "the certificate says that {} entries of the log before were found, and {signed} of them are signed: that log went on, or an older copy of it was certified",
                found.size
            );
            let problem = Problem::of_log(next, Wrong::Previous, what).in_file("certificate");
            return self.walked.findings.problem(problem);
        }
        if entries > found.size {
            let what = format!(
                "{} entries come after the {} that the log had when the next one began",
                entries.saturating_sub(found.size),
                found.size
            );
            self.problem(Wrong::EntriesAdded, Some(found.size), what);
        } else if entries < found.size && entries >= signed {
            let what = format!(
                "the next log's certificate says that {} entries were there, and {entries} are",
                found.size
            );
            let problem = Problem::of_log(self.head.name.number, Wrong::EntriesMissing, what);
            self.walked.missing.problem(problem.at(entries));
        }
        let root = self.walked.roots.get(&found.size).copied();
        if root.is_none_or(|root| root == found.root) {
            return;
        }
        if found.size > signed && is_sound {
            let last = found.size.saturating_sub(1);
            let what = format!(
                "one or more of the entries {signed} to {last} is not what the next log's certificate vouches for"
            );
            self.problem(Wrong::EntryChanged, Some(signed), what);
        } else if is_sound {
            let what = "the certificate has another root for the log before than that log's own checkpoint";
            let problem = Problem::of_log(next, Wrong::Previous, what).in_file("certificate");
            self.walked.findings.problem(problem);
        }
    }

    /// How the log ends.
    fn judge_end(&mut self) {
        let (entries, signed) = (self.walked.entries, self.signed());
        if let Some(close) = self.walked.said.first_close
            && close.saturating_add(1) < entries
        {
            let what = format!(
                "{} entries come after `close`, which ends a log",
                entries.saturating_sub(close).saturating_sub(1)
            );
            self.problem(Wrong::Close, Some(close.saturating_add(1)), what);
        }
        if self.head.never_signed && self.next.is_none() && entries > 1 {
            let what = "the log has entries after `start` and no checkpoint, which a sidecar signs before it does anything";
            self.problem(Wrong::Checkpoint, None, what);
        }
        if self.walked.torn > 0 {
            let what = format!(
                "{} bytes at the end of the tail are no whole entry: it was being written when it ended",
                self.walked.torn
            );
            self.walked.findings.remark(Some(self.head.name.number), Some(entries), what);
        }
        if signed > entries && self.walked.missing.is_clean() {
            let what = format!("{signed} entries were signed, and {entries} are there");
            let problem = Problem::of_log(self.head.name.number, Wrong::EntriesMissing, what);
            self.walked.missing.problem(problem.at(entries));
        }
    }

    /// What the entries say of the log.
    fn judge_said(&mut self) {
        let number = self.head.name.number;
        let said = &mut self.walked.said;
        let (opening, late) = (said.opening.take(), said.late_start);
        let (unknown, backwards) = (said.unknown.take(), said.backwards);
        let (unknown_count, backwards_count) = (said.unknown_count, said.backwards_count);
        if let Some(opening) = opening {
            let certificate = self.head.certificate.as_ref().map(|certificate| &certificate.sha256);
            if !opening.is_start {
                self.problem(
                    Wrong::Start,
                    Some(0),
                    "the first entry of a log is `start`, and this one is not",
                );
            } else if certificate.is_some_and(|wanted| opening.certificate.as_ref() != Some(wanted))
            {
                let what = "`start` does not name the SHA-256 of the certificate that is here";
                self.problem(Wrong::Start, Some(0), what);
            }
        }
        if let Some(at) = late {
            self.problem(Wrong::Start, Some(at), "a `start` is not the first entry of its log");
        }
        let findings = &mut self.walked.findings;
        if let Some((at, step)) = backwards {
            let what = format!(
                "the clock ran backwards, by {step} ms here, and {backwards_count} times in this log"
            );
            findings.remark(Some(number), Some(at), what);
        }
        if let Some((at, name)) = unknown {
            let name: String = name.chars().take(60).collect();
            let what = format!(
                "{unknown_count} entries have something that this version does not know, here {name:?}"
            );
            findings.remark(Some(number), Some(at), what);
        }
    }

    /// What somebody outside kept of it.
    fn judge_kept(&mut self) {
        let entries = self.walked.entries;
        for kept in std::mem::take(&mut self.kept) {
            let size = kept.head.size;
            let root: Option<Hash> = self.walked.roots.get(&size).copied();
            if size > entries {
                let what = format!(
                    "a checkpoint over {size} entries was kept, and {entries} are here: the end was cut off, or an older copy was put back"
                );
                self.problem(Wrong::Kept, Some(entries), what);
            } else if root.is_some_and(|root| root != kept.head.root) {
                let what = format!(
                    "the first {size} entries are not those over which a checkpoint was kept"
                );
                self.problem(Wrong::Kept, None, what);
            } else if root.is_none() {
                let what = format!(
                    "the kept checkpoint over {size} entries cannot be held against entries that are not there"
                );
                self.walked.findings.remark(Some(self.head.name.number), None, what);
            }
        }
    }

    fn report(&self) -> LogReport {
        let (entries, signed) = (self.walked.entries, self.signed().min(self.walked.entries));
        let beyond = entries.saturating_sub(signed);
        let found = self.found.map_or(0, |found| found.size.min(entries));
        let by_next = found.saturating_sub(signed);
        let closed = self
            .walked
            .said
            .last_close
            .is_some_and(|close| close.saturating_add(1) == entries && signed == entries);
        let state = if closed {
            LogState::Closed
        } else if self.is_held {
            LogState::Open
        } else {
            LogState::UncleanEnd
        };
        LogReport {
            number: self.head.name.number,
            origin: self.head.origin().map(str::to_owned),
            state,
            entries,
            signed,
            vouched_by_next: by_next,
            vouched_by_nothing: beyond.saturating_sub(by_next),
            times_ms: self.walked.said.times_ms,
        }
    }
}
