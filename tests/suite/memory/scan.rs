//! Reads another process: its maps, and through `/proc/PID/mem` every byte that it could read itself.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

use super::needles::Needle;

/// Shortest piece of a secret that is looked for, and how far apart the pieces begin: a spilled register.
const PIECE: usize = 8;
const PAGE: usize = 4096;

/// Which needles were found, and in which mappings. A needle counts from one piece of eight bytes on.
pub(crate) type Found = BTreeMap<&'static str, Vec<String>>;

/// What stands at the end of a place that no core file has.
pub(crate) const NOT_DUMPED: &str = "(not dumped)";

pub(super) fn find(pid: u32, needles: &[Needle]) -> Found {
    find_if_allowed(pid, needles).expect("the memory of a helper can be read")
}

pub(crate) fn find_if_allowed(pid: u32, needles: &[Needle]) -> Option<Found> {
    let mut pieces = HashMap::new();
    for needle in needles {
        for piece in needle.bytes.chunks_exact(PIECE) {
            let piece = u64::from_ne_bytes(piece.try_into().unwrap());
            assert!(piece.count_ones() > 8, "{} is not random", needle.name);
            pieces.insert(piece, needle.name);
        }
    }
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut found = Found::new();
    for Mapping { start, end, what } in mappings(pid)? {
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        if memory.read_exact_at(&mut bytes, start).is_err() {
            continue; // secretmem, or the kernel's own.
        }
        for (at, name) in pieces_in(&bytes, &pieces) {
            found.entry(name).or_default().push(format!("{:x} {what}", start + at as u64));
        }
    }
    Some(found)
}

/// A mapping that its process can write to: others hold the program, and nothing that it computed.
struct Mapping {
    start: u64,
    end: u64,
    what: String,
}

fn mappings(pid: u32) -> Option<Vec<Mapping>> {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).ok()?;
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in smaps.lines() {
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let Some((start, end)) = first.split_once('-') {
            let number = |text| u64::from_str_radix(text, 16).unwrap();
            mappings.push(Mapping { start: number(start), end: number(end), what: rest.into() });
        } else if first == "VmFlags:" && rest.split(' ').any(|flag| flag == "dd") {
            mappings.last_mut().unwrap().what.push_str(NOT_DUMPED);
        }
    }
    mappings.retain(|mapping| mapping.what.starts_with("rw"));
    Some(mappings)
}

fn pieces_in(bytes: &[u8], pieces: &HashMap<u64, &'static str>) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for page in (0..bytes.len()).step_by(PAGE) {
        if bytes[page..page + PAGE] == [0; PAGE] {
            continue; // Most pages: this is what makes the scan fast.
        }
        let end = (page + PAGE + PIECE - 1).min(bytes.len());
        for (at, window) in bytes[page..end].windows(PIECE).enumerate() {
            let window = u64::from_ne_bytes(window.try_into().unwrap());
            if let Some(name) = pieces.get(&window) {
                found.push((page + at, *name));
            }
        }
    }
    found
}

/// `len` bytes at `address` of another process.
pub(super) fn read(pid: u32, address: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    File::open(format!("/proc/{pid}/mem"))?.read_exact_at(&mut bytes, address)?;
    Ok(bytes)
}

pub(super) fn yama_forbids() -> bool {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    scope.is_ok_and(|scope| scope.trim() != "0")
}
