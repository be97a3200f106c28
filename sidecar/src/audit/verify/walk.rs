//! The entries of one log, from the first to the last, and what they come to.
//!
//! Depends on [`super::look`], [`super::tiles`] and [`super::frontier`]. Bundles are looked at on several threads, some
//! at a time, and taken in their order; what is kept of an entry is its hash's place in the tree's edge, so memory does
//! not grow with the log. A bundle that is not to be had is bridged by its tile of hashes where that is there.
//! Invariant: `memory_does_not_grow_with_the_log`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::thread;

use tlog_tiles::Hash;

use super::frontier::Frontier;
use super::gather::Gather;
use super::look::{Looked, Looker, Said, Tile, read_tile};
use super::tiles::{Differences, Levels};
use super::verdict::{Findings, Problem, Wrong};
use crate::audit::reader::{Bundle, LogFolder, Unread, WIDTH, tile_path};

/// Bundles that a thread looks at before what it found is taken.
const BUNDLES_EACH: usize = 16;
/// Runs of bundles that are missing are told one by one up to here.
const GAPS_MAX: usize = 1000;
/// Times that a log which is being written is followed to its new end.
const ROUNDS_MAX: u32 = 64;

/// What is to be walked.
#[derive(Debug)]
pub(super) struct Walk<'a, G> {
    pub(super) log: &'a LogFolder,
    pub(super) number: u64,
    /// How many entries the checkpoint is over.
    pub(super) signed: u64,
    /// Sizes at which the root is wanted.
    pub(super) marks: BTreeSet<u64>,
    /// Without hashes: entries are only read.
    pub(super) hashes: bool,
    pub(super) threads: usize,
    pub(super) gather: &'a mut G,
}

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// How many entries there are: the number after the last.
    pub(super) entries: u64,
    /// Not one of them is there.
    pub(super) is_empty: bool,
    /// Bytes after the last whole entry of the tail.
    pub(super) torn: usize,
    /// The roots at the marks, as far as every hash before them is known.
    pub(super) roots: BTreeMap<u64, Hash>,
    /// Some hashes are not known.
    pub(super) has_holes: bool,
    pub(super) said: Said,
    pub(super) differences: Differences,
    /// What would be no problem if the log had been pruned.
    pub(super) missing: Findings,
    pub(super) findings: Findings,
}

/// A walk under way.
struct Steps<'w, 'a, G> {
    walk: &'w mut Walk<'a, G>,
    done: Walked,
    frontier: Frontier,
    levels: Levels,
    levels_finished: bool,
}

impl<G: Gather> Walk<'_, G> {
    /// Reads the entries. `progress` is told how many more there are done, from time to time.
    pub(super) fn run(mut self, progress: &mut dyn FnMut(u64)) -> Walked {
        let mut steps = Steps {
            walk: &mut self,
            done: Walked { is_empty: true, ..Walked::default() },
            frontier: Frontier::default(),
            levels: Levels::default(),
            levels_finished: false,
        };
        steps.mark(0);
        match steps.walk.log.bundles() {
            Ok(runs) => steps.all(&runs, progress),
            Err(why) => {
                let what = format!("the folder of the entries {why}");
                steps.missing(0, "tile/entries", what);
                steps.done.has_holes = true;
            }
        }
        steps.done
    }
}

impl<G: Gather> Steps<'_, '_, G> {
    fn all(&mut self, runs: &[Range<u64>], progress: &mut dyn FnMut(u64)) {
        let mut next = 0_u64;
        for (count, run) in runs.iter().enumerate() {
            if count > GAPS_MAX {
                self.missing(
                    next.saturating_mul(WIDTH),
                    "tile/entries",
                    "more bundles are missing, here and there",
                );
                self.done.has_holes = true;
                break;
            }
            self.gap(next..run.start);
            self.full(run.clone(), progress);
            next = run.end;
        }
        // Only what a checkpoint is over must be there.
        let signed_full = self.walk.signed / WIDTH;
        if next < signed_full {
            self.gap(next..signed_full);
            next = signed_full;
        }
        self.edge(next, progress);
        if !self.levels_finished {
            self.finish_levels();
        }
    }

    /// Bundles that are not there.
    fn gap(&mut self, gap: Range<u64>) {
        if gap.is_empty() {
            return;
        }
        let (first, end) = (gap.start.saturating_mul(WIDTH), gap.end.saturating_mul(WIDTH));
        let what = format!("entries {first} to {} are not there", end.saturating_sub(1));
        self.missing(first, &tile_path("entries", gap.start, WIDTH), what);
        let signed = self.walk.signed;
        let mut index = gap.start;
        // As far as tiles of hashes stand in for them.
        while self.walk.hashes
            && gap.contains(&index)
            && index.saturating_add(1).saturating_mul(WIDTH) <= signed
            && let Ok(tile) = read_tile(self.walk.log, 0, index, WIDTH)
        {
            self.leaves(&tile);
            index = index.saturating_add(1);
        }
        self.done.has_holes |= index < gap.end;
        self.done.entries = end;
    }

    /// Full bundles that are there.
    fn full(&mut self, run: Range<u64>, progress: &mut dyn FnMut(u64)) {
        let threads = self.walk.threads.max(1);
        let window = threads.saturating_mul(BUNDLES_EACH) as u64;
        let mut next = run.start;
        while next < run.end {
            let end = next.saturating_add(window).min(run.end);
            for looked in self.look(next..end, threads) {
                self.take_full(looked);
            }
            progress(end.saturating_sub(next).saturating_mul(WIDTH));
            next = end;
            if !self.walk.hashes && self.walk.gather.has_enough() {
                return;
            }
        }
    }

    /// Looks at these bundles on several threads; what they found, in order.
    fn look(&self, bundles: Range<u64>, threads: usize) -> Vec<Looked<G::Found>> {
        let looker = self.looker();
        let share = (bundles.end.saturating_sub(bundles.start)).div_ceil(threads as u64).max(1);
        if share == 1 || threads == 1 {
            return bundles.map(|index| looker.full(index)).collect();
        }
        thread::scope(|scope| {
            let mut at_work = Vec::new();
            let mut first = bundles.start;
            while first < bundles.end {
                let part = first..first.saturating_add(share).min(bundles.end);
                first = part.end;
                let looker = &looker;
                at_work.push((
                    part.clone(),
                    scope.spawn(move || part.map(|index| looker.full(index)).collect::<Vec<_>>()),
                ));
            }
            let mut all = Vec::new();
            for (part, thread) in at_work {
                // A thread that panicked is a defect of this program; its share is looked at again, here, where it shows.
                let looked = thread.join();
                all.extend(
                    looked.unwrap_or_else(|_| part.map(|index| looker.full(index)).collect()),
                );
            }
            all
        })
    }

    fn looker(&self) -> Looker<'_, G> {
        let Walk { log, number, signed, hashes, gather, .. } = &*self.walk;
        Looker { log, number: *number, signed: *signed, hashes: *hashes, gather: &**gather }
    }

    fn take_full(&mut self, looked: Looked<G::Found>) {
        let first = looked.index.saturating_mul(WIDTH);
        let end = first.saturating_add(WIDTH);
        let path = tile_path("entries", looked.index, WIDTH);
        let count = looked.leaves.len() as u64;
        if let Some(why) = &looked.unread {
            let what = format!("entries {first} to {}: their bundle {why}", end.saturating_sub(1));
            self.missing(first, &path, what);
        } else if self.walk.hashes && count < WIDTH {
            let at = first.saturating_add(differing(&looked).unwrap_or(count));
            let what = format!("the bundle holds {count} whole entries, and not 256");
            self.missing(at, &path, what);
        } else if looked.rest > 0 {
            let what = format!("{} bytes come after the 256 entries of the bundle", looked.rest);
            self.problem(Wrong::EntriesAdded, end, &path, what);
        }
        if looked.contradicted {
            let what = format!(
                "{path} is there compressed too, and that is not the same; the plain one was read"
            );
            self.done.findings.remark(Some(self.walk.number), Some(first), what);
        }
        self.take(looked, WIDTH);
    }

    /// Takes a bundle of `width` entries into the tree.
    fn take(&mut self, looked: Looked<G::Found>, width: u64) {
        let Looked { index, leaves, root, tile, said, found, .. } = looked;
        let first = index.saturating_mul(WIDTH);
        if index == self.walk.signed / WIDTH {
            self.finish_levels();
        }
        self.done.is_empty &= leaves.is_empty() && said.times_ms.is_none();
        let whole = leaves.len() as u64 >= width;
        match tile {
            Tile::Differs(stored) if whole => {
                self.done.differences.compare(0, index, &stored, &leaves);
                self.leaves(&leaves);
            }
            Tile::Differs(stored) => {
                let there = stored.get(..leaves.len().min(stored.len())).unwrap_or_default();
                self.done.differences.compare(0, index, there, &leaves);
                self.done.has_holes |= (stored.len() as u64) < width;
                self.leaves(&stored);
            }
            other => {
                if let Tile::Unread(why) = other {
                    self.done.differences.unread(0, index, why);
                }
                self.done.has_holes |= !whole && self.walk.hashes;
                match root.filter(|_| self.wants_no_root_in(first)) {
                    Some(root) => self.subtree(root),
                    None => self.leaves(&leaves),
                }
            }
        }
        self.done.said.append(first, said);
        self.walk.gather.keep(found);
        self.done.entries = first.saturating_add(width);
    }

    fn wants_no_root_in(&self, first: u64) -> bool {
        let inside = first.saturating_add(1)..first.saturating_add(WIDTH);
        self.walk.marks.range(inside).next().is_none()
    }

    /// Adds a full bundle to the tree by its root.
    fn subtree(&mut self, root: Hash) {
        if self.done.has_holes {
            return;
        }
        self.frontier.push(8, root);
        self.mark(self.frontier.size());
        self.levels.push(self.walk.log, self.walk.signed, root, &mut self.done.differences);
    }

    /// Adds leaves to the tree, one by one; 256 of them are a full bundle.
    fn leaves(&mut self, leaves: &[Hash]) {
        if self.done.has_holes || !self.walk.hashes {
            return;
        }
        for &leaf in leaves {
            self.frontier.push(0, leaf);
            self.mark(self.frontier.size());
        }
        if leaves.len() as u64 == WIDTH {
            let root = super::frontier::root_of(leaves);
            self.levels.push(self.walk.log, self.walk.signed, root, &mut self.done.differences);
        }
    }

    fn mark(&mut self, size: u64) {
        if self.walk.marks.contains(&size) {
            self.done.roots.insert(size, self.frontier.root());
        }
    }

    fn finish_levels(&mut self) {
        self.levels_finished = true;
        if self.walk.hashes && !self.done.has_holes {
            self.levels.finish(self.walk.log, self.walk.signed, &mut self.done.differences);
        }
    }

    /// What comes after the full bundles: the tail, and the partial bundle of the checkpoint.
    fn edge(&mut self, mut next: u64, progress: &mut dyn FnMut(u64)) {
        let mut tail = self.tail();
        // While a log is written, its tail becomes a bundle, and another tail begins.
        for _ in 0..ROUNDS_MAX {
            if !self.walk.log.has_bundle(next) {
                break;
            }
            let mut end = next.saturating_add(1);
            while self.walk.log.has_bundle(end) && end.saturating_sub(next) < 4096 {
                end = end.saturating_add(1);
            }
            self.full(next..end, progress);
            next = end;
            tail = self.tail();
        }
        let first = next.saturating_mul(WIDTH);
        let width = self.walk.signed.saturating_sub(first).min(WIDTH);
        let partial = self.partial(next, width, &tail);
        self.done.torn = tail.rest();
        let edge = if partial.count() > tail.count() { partial } else { tail };
        let count = edge.count();
        if count < width {
            let at = self.looker().bundle(next, &edge);
            let at = first.saturating_add(differing(&at).unwrap_or(count));
            let what = format!(
                "entries up to {} were signed, and {} are there",
                self.walk.signed,
                first.saturating_add(count)
            );
            self.missing(at, &tile_path("entries", next, width), what);
        }
        if count > 0 || width > 0 {
            let looked = self.looker().bundle(next, &edge);
            self.take(looked, count.max(width));
            self.done.entries = first.saturating_add(count);
            progress(count);
        }
    }

    fn tail(&mut self) -> Bundle {
        match self.walk.log.tail() {
            Ok(bytes) => Bundle::of(bytes),
            Err(Unread::Missing) => Bundle::default(),
            Err(why) => {
                self.problem(Wrong::File, self.done.entries, "tail", format!("the tail {why}"));
                Bundle::default()
            }
        }
    }

    /// The partial bundle of the checkpoint; what is in the tail too must be the same.
    fn partial(&mut self, next: u64, width: u64, tail: &Bundle) -> Bundle {
        if width == 0 || width == WIDTH {
            return Bundle::default();
        }
        let path = tile_path("entries", next, width);
        let first = next.saturating_mul(WIDTH);
        let partial = match self.walk.log.partial_bundle(next, width) {
            Ok(bytes) => Bundle::of(bytes),
            Err(Unread::Missing) => return Bundle::default(),
            Err(why) => {
                self.problem(Wrong::File, first, &path, format!("the bundle {why}"));
                return Bundle::default();
            }
        };
        if partial.count() > width || partial.rest() > 0 {
            let what = format!("the bundle holds more than its {width} entries");
            self.problem(
                Wrong::EntriesAdded,
                first.saturating_add(partial.count().min(width)),
                &path,
                what,
            );
        } else if partial.count() < width && tail.count() >= width {
            let what = format!("the bundle holds {} entries, and not {width}", partial.count());
            self.problem(Wrong::EntriesMissing, first.saturating_add(partial.count()), &path, what);
        }
        let mut pairs = (first..).zip(partial.entries().zip(tail.entries()));
        let unlike = pairs.find(|(_, (a, b))| a != b).map(|(at, _)| at);
        drop(pairs);
        if let Some(at) = unlike {
            let what = "the bundle and the tail do not have the same entry";
            self.problem(Wrong::EntryChanged, at, &path, what);
        }
        partial
    }

    fn problem(&mut self, kind: Wrong, entry: u64, file: &str, what: impl Into<String>) {
        let problem = Problem::of_log(self.walk.number, kind, what).at(entry).in_file(file);
        self.done.findings.problem(problem);
    }

    fn missing(&mut self, entry: u64, file: &str, what: impl Into<String>) {
        let kind = Wrong::EntriesMissing;
        let problem = Problem::of_log(self.walk.number, kind, what).at(entry).in_file(file);
        self.done.missing.problem(problem);
    }
}

/// The first entry of a bundle that its tile has otherwise.
fn differing<F>(looked: &Looked<F>) -> Option<u64> {
    let Tile::Differs(tile) = &looked.tile else { return None };
    let at = looked.leaves.iter().zip(tile).position(|(leaf, hash)| leaf != hash)?;
    u64::try_from(at).ok()
}
