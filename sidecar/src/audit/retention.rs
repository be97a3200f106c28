//! The end of a log's time, and a witness's late signature. Neither touches the log that is open.
//!
//! What is believed of a log is what its certificates say, if an authority signed them that is known here; they are read
//! with the code of the verifier. A log ended, at the latest, when the next one was certified. Invariants:
//! `a_log_whose_certificates_nobody_signed_is_never_due`, `a_clock_that_was_set_forward_makes_no_log_due`,
//! `a_pass_over_what_is_done_touches_no_file`.

mod patience;

use std::path::{Path, PathBuf};
use std::time::Duration;

use self::patience::Patience;
use super::chain::{self, NOTE_BYTES_MAX};
use super::disk::{self, Disk};
use super::error::{DiskError, LogError};
use super::layout::{CERTIFICATE, CHECKPOINT, LogName, TAIL, TILES};
use super::note::{read_checkpoint, with_signature};
use super::verify::{Certificate, Checkpoint, Signed, SignedText, TreeHead, VerifyingKey};
use crate::clock::{Now, UnixSeconds};

/// Tiles on their way out.
const LEAVING: &str = ".tile.old";
/// Logs that are found due at once; the rest is found the next time.
const DUE_MAX: usize = 1_000;
/// Old logs are looked for this often, at least.
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);

/// A log whose time is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldLog {
    /// Its number in the chain.
    pub number: u64,
    /// Its origin.
    pub origin: String,
    /// Entries that its checkpoint covers.
    pub size: u64,
    /// The root hash of its checkpoint.
    pub root: [u8; 32],
    /// When it ended, by the certificates.
    pub ended: UnixSeconds,
    /// How long it was to be kept after that.
    pub retention: Duration,
    name: LogName,
}

/// Finds the logs whose time is over.
#[derive(Debug)]
pub(super) struct Retention {
    keep: Duration,
    patience: Patience,
    /// The authorities that were written down when this sidecar began, and those that it was certified by itself.
    authorities: Vec<VerifyingKey>,
    /// The logs below this number have no entries any more.
    pruned_below: u64,
    /// Nothing is due before this time, as long as no other log than this one is written.
    next_look: UnixSeconds,
    looked_from: u64,
}

impl Retention {
    /// Logs are kept for `keep`; `authorities` is the list in the folder, before anything of this sidecar is in it.
    pub(super) fn new(keep: Duration, now: Now, authorities: &[u8]) -> Self {
        let lines = authorities.split(|&byte| byte == b'\n');
        let keys =
            lines.filter_map(|line| VerifyingKey::parse(std::str::from_utf8(line).ok()?).ok());
        Self {
            keep,
            patience: Patience::new(keep, now),
            authorities: keys.filter(|key| !key.is_cosigner()).collect(),
            pruned_below: 0,
            next_look: UnixSeconds(0),
            looked_from: 0,
        }
    }

    /// Believes what this authority signed, too.
    pub(super) fn trust(&mut self, authority: &str) {
        let key = VerifyingKey::parse(authority).ok();
        self.authorities.extend(key.filter(|key| !self.authorities.contains(key)));
    }

    /// The oldest logs before `current` that still have entries and whose time is over. The first that has time left ends
    /// the search: the ones after it ended later.
    pub(super) fn due(
        &mut self,
        top: &Path,
        current: u64,
        now: Now,
    ) -> Result<Vec<OldLog>, LogError> {
        let Some(now) = self.patience.believed(now) else { return Ok(Vec::new()) };
        if self.looked_from == current && now < self.next_look {
            return Ok(Vec::new());
        }
        let logs = chain::logs(top)?;
        let first = logs.partition_point(|name| name.number < self.pruned_below);
        let logs = logs.get(first..).unwrap_or_default();
        let (mut due, mut unsure) = (Vec::new(), Vec::new());
        let (mut only_pruned, mut next_look) = (true, now.after(LOOK_EVERY));
        for pair in logs.windows(2) {
            let &[name, next] = pair else { continue };
            if name.number >= current || due.len() == DUE_MAX {
                break;
            }
            if !has_entries(&top.join(name.folder())) {
                self.pruned_below = if only_pruned { next.number } else { self.pruned_below };
                continue;
            }
            only_pruned = false;
            let Some(old) = self.ended(top, name, next) else {
                unsure.push(name.number);
                continue;
            };
            let end = old.ended.after(self.keep);
            if end >= now {
                next_look = next_look.min(end);
                break;
            }
            due.push(old);
        }
        if let Some(log) = unsure.first() {
            let logs = unsure.len();
            tracing::warn!(
                log,
                logs,
                "audit logs stay, however old: no authority that is known here signed what says when they ended, or they have no checkpoint: run `keypod audit verify`"
            );
        }
        if due.is_empty() {
            (self.looked_from, self.next_look) = (current, next_look);
        }
        Ok(due)
    }

    /// The log `name` as its checkpoint has it, and when it ended; `None` if not all of that is signed.
    fn ended(&self, top: &Path, name: LogName, next: LogName) -> Option<OldLog> {
        let (own, after) = (self.certificate(top, name)?, self.certificate(top, next)?);
        let follows = after.previous.as_ref().is_some_and(|before| before.origin == own.origin);
        if next.number != name.number + 1 || !follows {
            return None;
        }
        let note = read(top, name, CHECKPOINT)?;
        let note = SignedText::parse(&note).ok()?;
        let Checkpoint { origin, head: TreeHead { size, root } } = Checkpoint::parse(&note).ok()?;
        if origin != own.origin || note.signed([&own.key]) != Signed::By(1) {
            return None;
        }
        // The later of the two: a machine that begins with a clock that is far behind dates a log's end before its beginning.
        let ended = own.time.max(after.time);
        let (number, retention) = (name.number, self.keep);
        Some(OldLog { number, origin, size, root: root.0, ended, retention, name })
    }

    /// The certificate of the log `name`, if it is its own and an authority signed it.
    fn certificate(&self, top: &Path, name: LogName) -> Option<Certificate> {
        let bytes = read(top, name, CERTIFICATE)?;
        let note = SignedText::parse(&bytes).ok()?;
        let certificate = Certificate::parse(&note, &bytes).ok()?;
        let own = certificate.number == name.number && certificate.id() == name.id();
        let signed = matches!(note.signed(&self.authorities), Signed::By(count) if count > 0);
        (own && signed).then_some(certificate)
    }
}

fn read(top: &Path, name: LogName, file: &str) -> Option<Vec<u8>> {
    disk::read(&top.join(name.folder()).join(file), NOTE_BYTES_MAX).ok()?
}

fn has_entries(folder: &Path) -> bool {
    [TILES, LEAVING, TAIL].iter().any(|name| folder.join(name).symlink_metadata().is_ok())
}

/// Deletes entries and tiles; certificate and checkpoint stay.
pub(super) fn delete(disk: &Disk, top: &Path, log: &OldLog) -> Result<(), DiskError> {
    let folder = top.join(log.name.folder());
    // A crash leaves no log that has some of its entries under their names.
    let leaving = folder.join(LEAVING);
    disk.remove_folder(&leaving)?;
    if folder.join(TILES).symlink_metadata().is_ok() {
        disk.rename(&folder.join(TILES), &leaving)?;
    }
    disk.remove(&folder.join(TAIL))?;
    disk.flush_folder(&folder)?;
    disk.remove_folder(&leaving)?;
    disk.flush_folder(&folder)
}

/// Adds a witness's signature to the checkpoint of a log that is over, if it covers `size` entries.
pub(super) fn cosign(
    disk: &Disk,
    top: &Path,
    origin: &str,
    size: u64,
    line: &str,
) -> Result<bool, DiskError> {
    let Some((path, key)) = checkpoint_of(top, origin) else { return Ok(false) };
    let Some(note) = disk::read(&path, NOTE_BYTES_MAX)? else { return Ok(false) };
    if !read_checkpoint(&note, &key).is_ok_and(|checkpoint| checkpoint.size() == size) {
        return Ok(false);
    }
    let failed = |error| DiskError::new("cosigned", &path, std::io::Error::other(error));
    disk.put(top, &path, &with_signature(&note, line).map_err(failed)?)?;
    Ok(true)
}

/// The checkpoint file of the log with this origin, and its key.
fn checkpoint_of(top: &Path, origin: &str) -> Option<(PathBuf, String)> {
    let (_, id) = origin.rsplit_once('/')?;
    let name = chain::logs(top).ok()?.into_iter().find(|name| name.id() == id)?;
    let statement = chain::statement(top, name).filter(|statement| statement.log == origin)?;
    Some((top.join(name.folder()).join(CHECKPOINT), statement.key))
}
