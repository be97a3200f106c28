//! Audit logs that somebody changed: each attack is told and placed, by both verifiers, which share no code.

mod attacks;
mod builder;
mod hostile;
mod large;
mod proofs;
mod queries;
mod sound;
mod verifiers;

use std::path::Path;

use builder::{Chain, NoteKey};

fn authority() -> NoteKey {
    NoteKey::ed25519("root.example/audit", "the authority")
}

/// A chain of three logs of 600, 300 and 40 entries, each closed.
fn three_logs(folder: &Path) -> Chain {
    let mut chain = Chain::begin(folder, authority());
    chain.closed(600);
    chain.closed(300);
    chain.closed(40);
    chain
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let place = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &place);
        } else {
            std::fs::copy(entry.path(), place).unwrap();
        }
    }
}

#[test]
fn the_second_verifier_is_short_enough_to_be_read() {
    let path = keypod_tests::repository().join("tests/audit/verify.py");
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    assert!(lines.clone().count() < 200, "{} lines", lines.count());
}
