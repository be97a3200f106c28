//! What somebody with a shell on the disk might do to a log, and what is said of it.

use sha2::{Digest as _, Sha256};

use super::builder::{Chain, NoteKey, Tree, bundle, bundle_path, entry, put};
use super::verifiers::verify;
use super::{authority, copy, three_logs};

/// The first log's entry `at`, changed by one letter.
fn edited(chain: &Chain, log: usize, at: usize) -> Vec<u8> {
    let text = String::from_utf8(chain.log(log).entries[at].clone()).unwrap();
    let other = text.replacen("\"version\":1", "\"version\":2", 1);
    assert_ne!(text, other);
    other.into_bytes()
}

/// Writes the bundles of a log as `entries`, under the names that they had, and leaves tiles and checkpoint as they are.
fn write_entries(chain: &Chain, log: usize, entries: &[Vec<u8>]) {
    let log = chain.log(log);
    std::fs::remove_dir_all(log.folder.join("tile/entries")).unwrap();
    for (index, entries) in (0..).zip(entries.chunks(256)) {
        let width = if entries.len() < 256 { log.signed - 256 * index } else { 256 };
        put(&bundle_path(&log.folder, index, width), &bundle(entries));
    }
}

#[test]
fn an_edited_entry_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    for at in [2, 300, 598] {
        let mut entries = chain.log(1).entries.clone();
        entries[at] = edited(&chain, 1, at);
        write_entries(&chain, 1, &entries);
        let said = verify(folder.path(), &[]);
        said.tampered("entry_changed", 1, at as u64);
        said.only(&["entry_changed"]);
    }
}

#[test]
fn an_edited_entry_whose_hashes_were_changed_with_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    let log = chain.log(1);
    let mut entries = log.entries.clone();
    entries[300] = edited(&chain, 1, 300);
    write_entries(&chain, 1, &entries);
    // The leaf's tile alone: the tile above it still has the root that was signed.
    let other = tempfile::tempdir().unwrap();
    Tree::of(&entries).write(other.path(), 600);
    std::fs::copy(other.path().join("tile/0/001"), log.folder.join("tile/0/001")).unwrap();
    let said = verify(folder.path(), &[]);
    said.tampered("entry_changed", 1, 256);
    said.only(&["entry_changed"]);
    // All tiles.
    Tree::of(&entries).write(&log.folder, 600);
    let said = verify(folder.path(), &[]);
    said.tampered("root", 1, None);
    // And a checkpoint over it all, by a key that the certificate does not name.
    let forger = NoteKey::ed25519(&log.origin, "a forger");
    let text = format!("{}\n600\n{}\n", log.origin, Tree::of(&entries).root(600));
    put(&log.folder.join("checkpoint"), format!("{text}\n{}", forger.sign(&text)).as_bytes());
    verify(folder.path(), &[]).tampered("checkpoint_signature", 1, None);
}

#[test]
fn a_deleted_entry_is_told_from_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    let mut entries = chain.log(1).entries.clone();
    entries.remove(300);
    // Everything moves up.
    write_entries(&chain, 1, &entries);
    verify(folder.path(), &[]).tampered("entry_changed", 1, 300);
    // Out of its bundle alone.
    write_entries(&chain, 1, &chain.log(1).entries);
    put(&bundle_path(&chain.log(1).folder, 1, 256), &bundle(&entries[256..511]));
    verify(folder.path(), &[]).tampered("entries_missing", 1, 300);
}

#[test]
fn two_entries_that_changed_places_are_both_named() {
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    let mut entries = chain.log(2).entries.clone();
    entries.swap(17, 280);
    write_entries(&chain, 2, &entries);
    let said = verify(folder.path(), &[]);
    said.tampered("entry_changed", 2, 17);
    said.tampered("entry_changed", 2, 280);
    assert_eq!(said.json["problems"].as_array().unwrap().len(), 2);
}

#[test]
fn an_inserted_entry_is_told_from_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    let mut entries = chain.log(2).entries.clone();
    entries.insert(100, entries[99].clone());
    write_entries(&chain, 2, &entries);
    verify(folder.path(), &[]).tampered("entry_changed", 2, 100);
}

#[test]
fn an_entry_after_the_end_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    let unsigned = entry(chain.now_ms + 10, "decrypt", &serde_json::json!({ "caller": "x" }));
    // After the last log's `close`, and after the `close` of one before.
    for (log, first) in [(3, 0_u64), (1, 512)] {
        let log = chain.log(log);
        let rest = &log.entries[usize::try_from(first).unwrap()..];
        let tail = log.folder.join("tail");
        put(&tail, &bundle(&[rest, std::slice::from_ref(&unsigned)].concat()));
        let said = verify(folder.path(), &[]);
        said.tampered("close", log.number, log.signed);
        std::fs::remove_file(&tail).unwrap();
    }
    // After the end of a log that was killed, when the next had begun.
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::begin(folder.path(), authority());
    chain.killed(300, 280);
    chain.closed(10);
    let tail = bundle(&[&chain.log(1).entries[256..], &[unsigned]].concat());
    put(&chain.log(1).folder.join("tail"), &tail);
    let said = verify(folder.path(), &[]);
    said.tampered("entries_added", 1, 300);
    said.only(&["entries_added"]);
}

#[test]
fn a_tail_that_was_cut_off_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = three_logs(folder.path());
    // Below what is signed.
    write_entries(&chain, 3, &chain.log(3).entries[..30]);
    verify(folder.path(), &[]).tampered("entries_missing", 3, 30);
    chain = three_logs(folder.path());
    write_entries(&chain, 1, &chain.log(1).entries[..512]);
    verify(folder.path(), &[]).tampered("entries_missing", 1, 512);
    // Above what is signed, but below what the next log found.
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::begin(folder.path(), authority());
    chain.killed(300, 280);
    chain.closed(10);
    put(&chain.log(1).folder.join("tail"), &bundle(&chain.log(1).entries[256..290]));
    let said = verify(folder.path(), &[]);
    said.tampered("entries_missing", 1, 290);
    said.only(&["entries_missing"]);
}

#[test]
fn a_tail_that_was_cut_off_and_grown_again_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = three_logs(folder.path());
    let mut entries = chain.log(3).entries.clone();
    entries.truncate(30);
    for at in 0..10 {
        let other = serde_json::json!({ "caller": "nobody", "bytes": at });
        entries.push(chain.entry("decrypt", &other));
    }
    write_entries(&chain, 3, &entries);
    verify(folder.path(), &[]).tampered("entry_changed", 3, 30);
}

#[test]
fn unsigned_entries_of_a_killed_log_are_held_to_the_next_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::begin(folder.path(), authority());
    chain.killed(300, 280);
    chain.closed(10);
    let mut tail = chain.log(1).entries[256..].to_vec();
    tail[40] = edited(&chain, 1, 296);
    put(&chain.log(1).folder.join("tail"), &bundle(&tail));
    verify(folder.path(), &[]).tampered("entry_changed", 1, 280);
}

#[test]
fn an_older_log_in_the_place_of_a_newer_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    std::fs::remove_dir_all(&chain.log(3).folder).unwrap();
    copy(&chain.log(1).folder, &chain.log(3).folder);
    let said = verify(folder.path(), &[]);
    said.tampered("certificate", 3, None);
    // Under its own id, too.
    let id = chain.log(1).origin.rsplit_once('/').unwrap().1.to_owned();
    std::fs::rename(&chain.log(3).folder, folder.path().join(format!("000003-{id}"))).unwrap();
    verify(folder.path(), &[]).tampered("certificate", 3, None);
}

#[test]
fn a_checkpoint_that_a_newer_log_signed_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    let (first, newer) = (chain.log(1), chain.log(3));
    let text = first.checkpoint_text(600);
    // With the newer key under its own name, and under the older one's.
    put(&first.folder.join("checkpoint"), format!("{text}\n{}", newer.key.sign(&text)).as_bytes());
    verify(folder.path(), &[]).tampered("checkpoint_signature", 1, None);
    let disguised = NoteKey::ed25519(&first.origin, &newer.origin);
    put(&first.folder.join("checkpoint"), format!("{text}\n{}", disguised.sign(&text)).as_bytes());
    verify(folder.path(), &[]).tampered("checkpoint_signature", 1, None);
    // And the newer log's own checkpoint in the older one's place.
    std::fs::copy(newer.folder.join("checkpoint"), first.folder.join("checkpoint")).unwrap();
    verify(folder.path(), &[]).tampered("checkpoint", 1, None);
}

#[test]
fn another_pods_log_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    let elsewhere = tempfile::tempdir().unwrap();
    let mut other = Chain::begin(elsewhere.path(), authority());
    other.prefix = "cluster/namespace/workload/another-pod".to_owned();
    other.closed(600);
    other.closed(300);
    std::fs::remove_dir_all(&chain.log(2).folder).unwrap();
    let name = other.log(2).folder.file_name().unwrap().to_owned();
    copy(&other.log(2).folder, &folder.path().join(name));
    let said = verify(folder.path(), &[]);
    said.tampered("origin", 2, None);
    said.tampered("previous", 2, None);
    // The whole folder of another pod is told only to whoever says which one they want.
    let (code, json, _) = super::verifiers::run({
        let mut command = super::verifiers::audit(&["verify", "--json", "--origin", &chain.prefix]);
        command.arg(elsewhere.path());
        command
    });
    assert!(code == 1 && json.contains("\"origin\""), "{json}");
}

#[test]
fn a_log_that_was_left_out_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    std::fs::remove_dir_all(&chain.log(2).folder).unwrap();
    verify(folder.path(), &[]).tampered("number", 2, None);
    // With the ones after it renamed.
    let last =
        chain.log(3).folder.file_name().unwrap().to_str().unwrap().replace("000003", "000002");
    std::fs::rename(&chain.log(3).folder, folder.path().join(last)).unwrap();
    let said = verify(folder.path(), &[]);
    said.tampered("certificate", 2, None);
    said.tampered("previous", 2, None);
    // And the first.
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    std::fs::remove_dir_all(&chain.log(1).folder).unwrap();
    verify(folder.path(), &[]).tampered("number", 1, None);
}

#[test]
fn a_last_log_that_was_left_out_is_told_by_a_kept_checkpoint_alone() {
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    let kept = folder.path().join("kept");
    std::fs::copy(chain.log(3).folder.join("checkpoint"), &kept).unwrap();
    verify(folder.path(), &["--checkpoint", kept.to_str().unwrap()]).is("clean");
    std::fs::remove_dir_all(&chain.log(3).folder).unwrap();
    verify(folder.path(), &[]).is("clean");
    verify(folder.path(), &["--checkpoint", kept.to_str().unwrap()]).tampered("kept", None, None);
    for log in [1, 2] {
        std::fs::remove_dir_all(&chain.log(log).folder).unwrap();
    }
    verify(folder.path(), &["--checkpoint", kept.to_str().unwrap()]).tampered("kept", None, None);
}

#[test]
fn a_disk_that_was_rolled_back_is_told_by_a_kept_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::begin(folder.path(), authority());
    chain.killed(300, 250);
    let snapshot = tempfile::tempdir().unwrap();
    copy(folder.path(), &snapshot.path().join("then"));
    chain.work(200);
    chain.logs[0].rewrite(500);
    let kept = folder.path().join("kept");
    std::fs::copy(chain.log(1).folder.join("checkpoint"), &kept).unwrap();
    let then = snapshot.path().join("then");
    verify(&then, &[]).is("unclean end");
    let said = verify(&then, &["--checkpoint", kept.to_str().unwrap()]);
    said.tampered("kept", 1, 300);
    // And went on from there: another history.
    chain.logs[0].entries.truncate(300);
    chain.now_ms += 60_000;
    chain.work(210);
    chain.logs[0].rewrite(505);
    verify(folder.path(), &[]).is("unclean end");
    let said = verify(folder.path(), &["--checkpoint", kept.to_str().unwrap()]);
    said.tampered("kept", 1, None);
    said.only(&["kept"]);
}

#[test]
fn what_was_kept_can_be_said_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    let log = chain.log(2);
    let tree = Tree::of(&log.entries);
    let ask = |size: u64, root: String| {
        let kept = format!("{}:{size}:{root}", log.origin);
        let mut command = super::verifiers::audit(&["verify", "--json", "--expect", &kept]);
        command.arg(folder.path());
        super::verifiers::run(command).0
    };
    for size in [1, 40, 256, 257, 299, 300] {
        assert_eq!(ask(size, tree.root(size).to_string()), 0, "{size}");
        assert_eq!(ask(size, tree.root(size - 1).to_string()), 1, "{size}");
    }
    assert_eq!(ask(301, tree.root(300).to_string()), 1);
    assert_eq!(ask(301, "nonsense".to_owned()), 2);
}

#[test]
fn a_certificate_of_a_foreign_authority_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = three_logs(folder.path());
    chain.authority = NoteKey::ed25519("root.example/audit", "a forger");
    chain.closed(20);
    verify(folder.path(), &[]).tampered("authority", 4, None);
    // A folder that brings the forger's key agrees with itself, and with nobody else.
    let forged = tempfile::tempdir().unwrap();
    let mut chain = Chain::begin(forged.path(), NoteKey::ed25519("root.example/audit", "a forger"));
    chain.closed(20);
    verify(forged.path(), &[]).is("clean");
    let file = forged.path().join("given");
    put(&file, authority().verification_key().as_bytes());
    let said = verify(forged.path(), &["--authority", file.to_str().unwrap()]);
    said.tampered("authority", 1, None);
}

#[test]
fn a_certificate_of_another_log_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    std::fs::copy(chain.log(3).folder.join("certificate"), chain.log(2).folder.join("certificate"))
        .unwrap();
    let said = verify(folder.path(), &[]);
    said.tampered("certificate", 2, None);
    said.tampered("start", 2, 0);
}

#[test]
fn a_certificate_with_other_words_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    let path = chain.log(2).folder.join("certificate");
    let text = std::fs::read_to_string(&path).unwrap();
    put(&path, text.replacen("time 2026", "time 2025", 1).as_bytes());
    verify(folder.path(), &[]).tampered("authority", 2, None);
    // Signed anew by the authority, it is not the one that the log began with.
    let log = chain.log(2);
    let root = Tree::of(&chain.log(1).entries).root(600);
    let previous = format!("{} 600 {root}", chain.log(1).origin);
    let anew = chain.certificate(log, &previous);
    put(&path, anew.as_bytes());
    assert_ne!(Sha256::digest(text), Sha256::digest(anew));
    verify(folder.path(), &[]).tampered("start", 2, 0);
}

#[test]
fn a_certificate_that_does_not_continue_the_log_before_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    let root = |size| Tree::of(&chain.log(1).entries).root(size);
    let origin = &chain.log(1).origin;
    for (previous, kind, log) in [
        (format!("{origin} 590 {}", root(590)), "previous", 2),
        (format!("{origin} 600 {}", root(599)), "previous", 2),
        (format!("{origin}x 600 {}", root(600)), "previous", 2),
        ("none".to_owned(), "previous", 2),
        (format!("{origin} 610 {}", root(600)), "entries_missing", 1),
    ] {
        let path = chain.log(2).folder.join("certificate");
        put(&path, chain.certificate(chain.log(2), &previous).as_bytes());
        let said = verify(folder.path(), &[]);
        assert_eq!(said.verdict, "tampered");
        let problems = said.json["problems"].to_string();
        assert!(problems.contains(kind), "{previous}: {problems}");
        assert!(problems.contains(&format!("\"log\":{log}")), "{previous}: {problems}");
    }
}

#[test]
fn two_logs_with_one_number_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    copy(&chain.log(2).folder, &folder.path().join("000002-ffff"));
    verify(folder.path(), &[]).tampered("number", 2, None);
}
