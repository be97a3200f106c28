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
pub(super) type Found = BTreeMap<&'static str, Vec<String>>;

pub(super) fn find(pid: u32, needles: &[Needle]) -> Found {
    find_if_allowed(pid, needles).expect("the memory of a helper can be read")
}

pub(super) fn find_if_allowed(pid: u32, needles: &[Needle]) -> Option<Found> {
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
    for line in fs::read_to_string(format!("/proc/{pid}/maps")).unwrap().lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        // What cannot be written holds the program and nothing that it computed.
        if !rest.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let (start, end) =
            (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        if memory.read_exact_at(&mut bytes, start).is_err() {
            continue; // secretmem, or the kernel's own.
        }
        for (at, name) in pieces_in(&bytes, &pieces) {
            found.entry(name).or_default().push(format!("{:x} {rest}", start + at as u64));
        }
    }
    Some(found)
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
