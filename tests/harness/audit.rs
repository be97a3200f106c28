//! The audit log of a sidecar, read as `docs/audit-log.md` says and with nothing of the code that wrote it.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Sidecar, until};

/// One entry, and where it is.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    /// The number of its log in the folder.
    pub log: u64,
    /// Its number in that log.
    pub index: u64,
    /// What it says.
    pub said: Value,
}

impl Sidecar {
    /// Where its audit log is.
    #[must_use]
    pub fn audit_folder(&self) -> PathBuf {
        self.folder().join("audit")
    }

    /// Every entry of every log, in order.
    ///
    /// # Panics
    /// If the folder cannot be read, or an entry is not JSON.
    #[must_use]
    pub fn audit_entries(&self) -> Vec<AuditEntry> {
        logs(&self.audit_folder()).iter().flat_map(|log| read(log)).collect()
    }

    /// Every entry of the log of this number, in order.
    ///
    /// # Panics
    /// As [`Sidecar::audit_entries`].
    #[must_use]
    pub fn audit_entries_of(&self, number: u64) -> Vec<AuditEntry> {
        let start = format!("{number:06}-");
        let is_it = |log: &PathBuf| {
            log.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&start))
        };
        logs(&self.audit_folder())
            .iter()
            .filter(|log| is_it(log))
            .flat_map(|log| read(log))
            .collect()
    }

    /// The entries with this request id, in order.
    #[must_use]
    pub fn audited(&self, request: &str) -> Vec<Value> {
        let entries = self.audit_entries().into_iter();
        entries.map(|entry| entry.said).filter(|said| said["request"] == request).collect()
    }

    /// Waits until an entry is there that nobody's answer waits for.
    ///
    /// # Panics
    /// If it does not come.
    pub async fn until_audited(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let find =
            || self.audit_entries().into_iter().map(|entry| entry.said).find(|said| is_it(said));
        until(what, async || find().is_some()).await;
        find().expect("it was there a moment ago")
    }
}

fn logs(folder: &Path) -> Vec<PathBuf> {
    let mut logs: Vec<_> = std::fs::read_dir(folder)
        .expect("the audit folder")
        .map(|entry| entry.expect("an entry of the folder").path())
        .filter(|path| path.is_dir())
        .collect();
    logs.sort();
    logs
}

fn read(log: &Path) -> Vec<AuditEntry> {
    let name = log.file_name().expect("a name").to_string_lossy().into_owned();
    let number = name.split('-').next().and_then(|number| number.parse().ok());
    let number = number.expect("the number of a log");
    let entry = |(index, bytes): (u64, Vec<u8>)| {
        let said = serde_json::from_slice(&bytes).expect("an entry is JSON");
        AuditEntry { log: number, index, said }
    };
    (0..).zip(read_log(log)).map(entry).collect()
}

fn read_log(log: &Path) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    for number in 0_u64.. {
        let path = log.join("tile/entries").join(place(number));
        match read_bundle(&path) {
            Some(bundle) => entries.extend(split(&bundle)),
            None => break,
        }
    }
    let full = entries.len();
    if let Ok(tail) = std::fs::read(log.join("tail")) {
        // Between the two reads the tail may have become a bundle: then it begins anew.
        entries.extend(split(&tail));
        return entries;
    }
    let partial = log.join("tile/entries").join(format!("{}.p", place(full as u64 / 256)));
    let widths = std::fs::read_dir(partial).into_iter().flatten().flatten();
    let widest = widths.filter_map(|entry| {
        let width: u64 = entry.file_name().to_string_lossy().parse().ok()?;
        Some((width, entry.path()))
    });
    if let Some((_, path)) = widest.max() {
        entries.extend(split(&std::fs::read(path).expect("a partial bundle")));
    }
    entries
}

/// `x001/234` for 1234, as C2SP tlog-tiles has it.
fn place(number: u64) -> String {
    let mut place = format!("{:03}", number % 1000);
    let mut rest = number / 1000;
    while rest > 0 {
        place = format!("x{:03}/{place}", rest % 1000);
        rest /= 1000;
    }
    place
}

fn read_bundle(path: &Path) -> Option<Vec<u8>> {
    if let Ok(bytes) = std::fs::read(path) {
        return Some(bytes);
    }
    let compressed = std::fs::read(path.with_extension("gz")).ok()?;
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&compressed[..]).read_to_end(&mut bytes).expect("gzip");
    Some(bytes)
}

fn split(bundle: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut entries) = (bundle, Vec::new());
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        // The end may be written while it is read.
        let Some((entry, after)) = after.split_at_checked(length) else { break };
        entries.push(entry.to_vec());
        rest = after;
    }
    entries
}
