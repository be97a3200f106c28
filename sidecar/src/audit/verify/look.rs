//! One bundle: its entries hashed, read, and held against the tile of hashes that belongs to it. Any thread does it.
//!
//! Depends on [`super::entry`], [`super::frontier`] and [`crate::audit::reader`].

use tlog_tiles::Hash;
use tlog_tiles::tlog::record_hash;

use super::entry::{Entry, EntryProblem};
use super::frontier::root_of;
use super::gather::{Gather, Place};
use super::prunes::Prune;
use crate::audit::reader::{Bundle, LogFolder, Unread, WIDTH};

/// Entries of one bundle that are told one by one when they are none.
const PROBLEMS_MAX: usize = 8;

/// Entries that came at once may be in the log in another order than they were stamped: less than this is no clock's fault.
const CLOCK_STEP_MS: u64 = 1000;

/// What the first entry of a log says.
#[derive(Clone, Debug)]
pub(super) struct Opening {
    pub(super) is_start: bool,
    pub(super) certificate: Option<String>,
}

/// What the entries of a bundle, or of a log, say about themselves.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) problems: Vec<(u64, EntryProblem)>,
    pub(super) more_problems: u64,
    pub(super) opening: Option<Opening>,
    /// A `start` that is not the first entry.
    pub(super) late_start: Option<u64>,
    pub(super) first_close: Option<u64>,
    pub(super) last_close: Option<u64>,
    pub(super) prunes: Vec<(u64, Prune)>,
    pub(super) times_ms: Option<[u64; 2]>,
    /// The first entry whose time is before that of the entry before it; how many there are.
    pub(super) backwards: Option<(u64, u64)>,
    pub(super) backwards_count: u64,
    /// The first entry with something that the format does not know.
    pub(super) unknown: Option<(u64, String)>,
    pub(super) unknown_count: u64,
}

impl Said {
    fn read(&mut self, index: u64, entry: &Entry<'_>) {
        if index == 0 {
            let certificate = entry.detail_text("certificate").map(str::to_owned);
            self.opening = Some(Opening { is_start: entry.operation == "start", certificate });
        }
        match &*entry.operation {
            "start" if index > 0 => {
                self.late_start.get_or_insert(index);
            }
            "close" => {
                self.first_close.get_or_insert(index);
                self.last_close = Some(index);
            }
            "prune" => self.prunes.push((index, Prune::of(entry))),
            _ => {}
        }
        self.clock(index, [entry.time_ms, entry.time_ms], None, 0);
        if let Some(unknown) = &entry.unknown {
            self.unknown_count = self.unknown_count.saturating_add(1);
            self.unknown.get_or_insert_with(|| (index, unknown.clone()));
        }
    }

    /// Goes on to entries from `index` on, with these times.
    fn clock(&mut self, index: u64, times: [u64; 2], backwards: Option<(u64, u64)>, count: u64) {
        let [first, last] = times;
        let step = self.times_ms.map_or(0, |[_, before]| before.saturating_sub(first));
        if step > CLOCK_STEP_MS {
            self.backwards.get_or_insert((index, step));
            self.backwards_count = self.backwards_count.saturating_add(1);
        }
        self.backwards = self.backwards.or(backwards);
        self.backwards_count = self.backwards_count.saturating_add(count);
        self.times_ms = Some([self.times_ms.map_or(first, |[begin, _]| begin), last]);
    }

    /// Goes on to what the bundle after said, whose first entry is `index`.
    pub(super) fn append(&mut self, index: u64, next: Self) {
        let room = PROBLEMS_MAX.saturating_mul(128).saturating_sub(self.problems.len());
        let more = next.problems.len().saturating_sub(room) as u64;
        self.problems.extend(next.problems.into_iter().take(room));
        self.more_problems =
            self.more_problems.saturating_add(next.more_problems).saturating_add(more);
        self.opening = self.opening.take().or(next.opening);
        self.late_start = self.late_start.or(next.late_start);
        self.first_close = self.first_close.or(next.first_close);
        self.last_close = next.last_close.or(self.last_close);
        self.prunes.extend(next.prunes);
        if let Some(times) = next.times_ms {
            self.clock(index, times, next.backwards, next.backwards_count);
        }
        self.unknown = self.unknown.take().or(next.unknown);
        self.unknown_count = self.unknown_count.saturating_add(next.unknown_count);
    }
}

/// The tile of leaf hashes that belongs to a bundle.
#[derive(Debug)]
pub(super) enum Tile {
    /// No checkpoint needs it.
    NotNeeded,
    /// It agrees.
    Agrees,
    /// It has other hashes than the entries.
    Differs(Vec<Hash>),
    /// It is not to be had.
    Unread(Unread),
}

/// What a look at a bundle found.
#[derive(Debug)]
pub(super) struct Looked<F> {
    /// The number of the bundle.
    pub(super) index: u64,
    /// Why it could not be read.
    pub(super) unread: Option<Unread>,
    /// It is there compressed too, and that is not the same.
    pub(super) contradicted: bool,
    /// The leaf hashes of its entries.
    pub(super) leaves: Vec<Hash>,
    /// The root over them, if they are 256.
    pub(super) root: Option<Hash>,
    /// Bytes after its last whole entry.
    pub(super) rest: usize,
    pub(super) tile: Tile,
    pub(super) said: Said,
    pub(super) found: F,
}

/// What is looked at, and for what.
#[derive(Debug)]
pub(super) struct Looker<'a, G> {
    pub(super) log: &'a LogFolder,
    pub(super) number: u64,
    /// How many entries the checkpoint is over.
    pub(super) signed: u64,
    /// Without hashes: entries are only read.
    pub(super) hashes: bool,
    pub(super) gather: &'a G,
}

impl<G: Gather> Looker<'_, G> {
    /// Looks at the full bundle `index`.
    pub(super) fn full(&self, index: u64) -> Looked<G::Found> {
        match self.log.bundle(index) {
            Ok(stored) => {
                let mut looked = self.bundle(index, &Bundle::of(stored.bytes));
                looked.contradicted = stored.contradicted;
                looked
            }
            Err(why) => {
                let mut looked = self.bundle(index, &Bundle::default());
                looked.unread = Some(why);
                looked
            }
        }
    }

    /// Looks at the entries of bundle `index`, as far as they are there.
    pub(super) fn bundle(&self, index: u64, bundle: &Bundle) -> Looked<G::Found> {
        let first = index.saturating_mul(WIDTH);
        let (mut said, mut found) = (Said::default(), G::Found::default());
        let mut leaves = Vec::with_capacity(if self.hashes { 256 } else { 0 });
        for (at, raw) in (first..).zip(bundle.entries()) {
            if self.hashes {
                leaves.push(record_hash(raw));
            }
            match Entry::parse(raw) {
                Ok(entry) => {
                    said.read(at, &entry);
                    self.gather.look(
                        Place { log: self.number, entry: at },
                        &entry,
                        raw,
                        &mut found,
                    );
                }
                Err(why) if said.problems.len() < PROBLEMS_MAX => said.problems.push((at, why)),
                Err(_) => said.more_problems = said.more_problems.saturating_add(1),
            }
        }
        let root = (leaves.len() as u64 == WIDTH).then(|| root_of(&leaves));
        let tile = if self.hashes { self.tile(index, &leaves) } else { Tile::NotNeeded };
        let rest = bundle.rest();
        Looked { index, unread: None, contradicted: false, leaves, root, rest, tile, said, found }
    }

    /// Holds `leaves` against the tile of bundle `index`.
    fn tile(&self, index: u64, leaves: &[Hash]) -> Tile {
        let width = self.signed.saturating_sub(index.saturating_mul(WIDTH)).min(WIDTH);
        if width == 0 {
            return Tile::NotNeeded;
        }
        match read_tile(self.log, 0, index, width) {
            Ok(hashes) if leaves.starts_with(&hashes) => Tile::Agrees,
            Ok(hashes) => Tile::Differs(hashes),
            Err(why) => Tile::Unread(why),
        }
    }
}

/// The first `width` hashes of a tile.
pub(crate) fn read_tile(
    log: &LogFolder,
    level: u8,
    index: u64,
    width: u64,
) -> Result<Vec<Hash>, Unread> {
    let bytes = log.tile(level, index, width)?;
    let hashes = bytes.chunks_exact(32).filter_map(|hash| hash.try_into().ok().map(Hash));
    let mut hashes: Vec<_> = hashes.collect();
    let whole = bytes.len() % 32 == 0;
    let width = usize::try_from(width).unwrap_or(usize::MAX);
    // A full tile may be there in the place of a partial one; a shorter one is none.
    if !whole || hashes.len() < width {
        return Err(Unread::TooShort);
    }
    hashes.truncate(width);
    Ok(hashes)
}
