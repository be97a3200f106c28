//! What is kept of the logs until all have been read: which were pruned, and which that somebody kept are not here.
//!
//! Depends on [`super::judge`] and [`super::heads`]. A log whose entries are there is done with when it has been judged,
//! so what is kept does not grow with the number of logs, but with the number of those that were pruned. Invariant:
//! `memory_hardly_grows_with_the_number_of_logs`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::heads::Heads;
use super::judge::Judged;
use super::prunes::Prune;
use super::trust::Trust;
use super::verdict::{Findings, LogReport, LogState, Problem, Verdict, Wrong};

/// Logs that are told one by one.
const LOGS_MAX: usize = 100_000;

/// A `prune` entry, and where it is.
#[derive(Debug)]
struct Announced {
    by: u64,
    at: u64,
    prune: Prune,
}

/// The books.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) logs: Vec<LogReport>,
    pub(super) more_logs: u64,
    pub(super) entries: u64,
    pub(super) times_ms: Option<[u64; 2]>,
    /// The worst that was said of a log.
    worst: Verdict,
    /// Logs of which something is missing, which a later log may explain. With their place in the list.
    waiting: Vec<(Option<usize>, Judged)>,
    /// By the number of the log that was pruned: the first that says so.
    announced: BTreeMap<u64, Announced>,
    /// Of what was kept, what is of logs that are here, by their place in the list of it.
    here: BTreeSet<usize>,
}

impl Books {
    pub(super) fn new() -> Self {
        Self {
            logs: Vec::new(),
            more_logs: 0,
            entries: 0,
            times_ms: None,
            worst: Verdict::Clean,
            waiting: Vec::new(),
            announced: BTreeMap::new(),
            here: BTreeSet::new(),
        }
    }

    /// Enters a log, after those before it.
    pub(super) fn enter(&mut self, mut log: Judged, trust: &Trust, findings: &mut Findings) {
        let by = log.report.number;
        for (at, prune) in std::mem::take(&mut log.prunes) {
            if let Some(number) = prune.number {
                self.announced.entry(number).or_insert(Announced { by, at, prune });
            }
        }
        let origin = log.report.origin.as_deref();
        let kept = trust.kept.iter().enumerate();
        self.here.extend(kept.filter(|(_, kept)| Some(&*kept.origin) == origin).map(|(at, _)| at));
        self.entries = self.entries.saturating_add(log.report.entries);
        if let Some([first, last]) = log.report.times_ms {
            let [begin, end] = self.times_ms.unwrap_or([first, last]);
            self.times_ms = Some([begin.min(first), end.max(last)]);
        }
        if !log.findings.is_clean() {
            log.report.state = LogState::Tampered;
        }
        findings.append(std::mem::take(&mut log.findings));
        let place = (self.logs.len() < LOGS_MAX).then_some(self.logs.len());
        match place {
            Some(_) => self.logs.push(log.report.clone()),
            None => self.more_logs = self.more_logs.saturating_add(1),
        }
        if log.is_empty || !log.missing.is_clean() {
            self.waiting.push((place, log));
        } else {
            self.worst = self.worst.max(verdict_of(log.report.state));
        }
    }

    /// Judges what had to wait for the last log. The verdict is that of all.
    pub(super) fn close(
        &mut self,
        heads: &mut Heads<'_>,
        trust: &Trust,
        findings: &mut Findings,
    ) -> Verdict {
        for (at, kept) in trust.kept.iter().enumerate() {
            if !self.here.contains(&at) {
                let what = format!(
                    "a checkpoint of {} over {} entries was kept, and that log is not here: it was left out, or an older copy of the folder was put back",
                    kept.origin, kept.head.size
                );
                findings.problem(Problem::of_folder(Wrong::Kept, what));
            }
        }
        let mut all = std::mem::take(&mut self.waiting);
        let waits: BTreeSet<_> = all.iter().map(|(_, log)| log.report.number).collect();
        // Those that were to be pruned and are whole were not kept: they are looked up again.
        let whole = self.announced.keys().filter(|number| !waits.contains(number));
        all.extend(whole.filter_map(|&number| heads.again(number)).map(|log| {
            let number = log.report.number;
            (self.logs.binary_search_by_key(&number, |report| report.number).ok(), log)
        }));
        all.sort_by_key(|(_, log)| log.report.number);
        for (place, mut log) in all {
            let is_whole = !waits.contains(&log.report.number);
            pruning(&mut log, &self.announced, trust.retention_min);
            if !log.findings.is_clean() {
                log.report.state = LogState::Tampered;
            }
            if !is_whole {
                self.worst = self.worst.max(verdict_of(log.report.state));
            }
            if let Some(report) = place.and_then(|place| self.logs.get_mut(place))
                && (!is_whole || log.report.state == LogState::Tampered)
            {
                report.state = log.report.state;
            }
            findings.append(log.findings);
        }
        if findings.is_clean() { self.worst } else { Verdict::Tampered }
    }
}

fn pruning(log: &mut Judged, announced: &BTreeMap<u64, Announced>, least: Duration) {
    let number = log.report.number;
    let is_missing = log.is_empty || !log.missing.is_clean();
    let Some(Announced { by, at, prune }) = announced.get(&number) else {
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

fn verdict_of(state: LogState) -> Verdict {
    match state {
        LogState::Closed | LogState::Pruned => Verdict::Clean,
        LogState::Open => Verdict::Open,
        LogState::UncleanEnd => Verdict::UncleanEnd,
        LogState::Tampered => Verdict::Tampered,
    }
}
