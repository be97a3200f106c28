//! Files that are made to break a reader: bombs, endless notes, links, sizes beyond everything.

use std::os::unix::fs::symlink;
use std::path::Path;

use super::builder::{Tree, bundle, bundle_path, gzip, put};
use super::three_logs;
use super::verifiers::{audit, run, second, verify};

#[test]
fn a_bomb_in_gzip_does_not_go_off() {
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    let plain = bundle_path(&chain.log(1).folder, 1, 256);
    std::fs::remove_file(&plain).unwrap();
    put(&plain.with_extension("gz"), &gzip(&vec![b'x'; 200 << 20]));
    let said = verify(folder.path(), &[]);
    said.tampered("entries_missing", 1, 256);
    said.only(&["entries_missing"]);
}

#[test]
fn an_endless_note_is_not_read_to_its_end() {
    for file in ["certificate", "checkpoint"] {
        let folder = tempfile::tempdir().unwrap();
        let chain = three_logs(folder.path());
        let path = chain.log(2).folder.join(file);
        std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        verify(folder.path(), &[]).tampered("file", 2, None);
        // Within the bound, of signatures alone.
        let line = "— a AAAAAAAAAAAA\n";
        put(&path, format!("a/b\n1\nx\n\n{}", line.repeat(4000)).as_bytes());
        verify(folder.path(), &[]).tampered(file, 2, None);
    }
}

#[test]
fn a_link_is_told_and_not_followed() {
    let linked = |what: &str, is_folder: bool| {
        let folder = tempfile::tempdir().unwrap();
        let chain = three_logs(folder.path());
        let outside = tempfile::tempdir().unwrap();
        let log = &chain.log(1).folder;
        let path = if what.is_empty() { log.clone() } else { log.join(what) };
        let place = outside.path().join("moved");
        std::fs::rename(&path, &place).unwrap();
        symlink(&place, &path).unwrap();
        assert_eq!(path.is_dir(), is_folder);
        verify(folder.path(), &[])
    };
    linked("tile/entries/001", false).tampered("entries_missing", 1, 256);
    linked("tile/0/001", false).tampered("tile", 1, 256);
    linked("tile/entries", true).tampered("entries_missing", 1, 0);
    linked("certificate", false).tampered("file", 1, None);
    linked("checkpoint", false).tampered("file", 1, None);
    linked("", true).tampered("file", 1, None);
}

#[test]
fn half_a_bundle_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    let log = chain.log(1);
    let whole = bundle(&log.entries[256..512]);
    put(&bundle_path(&log.folder, 1, 256), &whole[..whole.len() / 2]);
    let text = verify(folder.path(), &[]);
    let first = text.json["problems"][0]["entry"].as_u64().unwrap();
    assert!((370..400).contains(&first), "{first}");
    text.tampered("entries_missing", 1, first);
    // The partial one of the end.
    put(&bundle_path(&log.folder, 1, 256), &whole);
    let part = bundle(&log.entries[512..]);
    put(&bundle_path(&log.folder, 2, 88), &part[..part.len() - 1]);
    verify(folder.path(), &[]).tampered("entries_missing", 1, 599);
    // More than whole.
    put(&bundle_path(&log.folder, 2, 88), &part);
    put(&bundle_path(&log.folder, 1, 256), &[&whole[..], b"\0\x02{}"].concat());
    verify(folder.path(), &[]).tampered("entries_added", 1, 512);
}

#[test]
fn a_missing_tile_or_bundle_is_named() {
    for (file, kind, entry) in [
        ("tile/entries/000", "entries_missing", 0),
        ("tile/entries/001", "entries_missing", 256),
        ("tile/entries/002.p/88", "entries_missing", 512),
        ("tile/0/001", "tile", 256),
        ("tile/0/002.p/88", "tile", 512),
        ("tile/1/000.p/2", "tile", 0),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let chain = three_logs(folder.path());
        std::fs::remove_file(chain.log(1).folder.join(file)).unwrap();
        let said = verify(folder.path(), &[]);
        said.tampered(kind, 1, entry);
        said.only(&[kind]);
    }
}

#[test]
fn a_tile_that_disagrees_is_named_and_the_entries_are_not() {
    for (file, at, entry) in
        [("tile/0/001", 44 * 32, 300), ("tile/0/002.p/88", 0, 512), ("tile/1/000.p/2", 32, 256)]
    {
        let folder = tempfile::tempdir().unwrap();
        let chain = three_logs(folder.path());
        let path = chain.log(1).folder.join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 1;
        put(&path, &bytes);
        let said = verify(folder.path(), &[]);
        said.tampered("tile", 1, entry);
        said.only(&["tile"]);
    }
}

#[test]
fn a_checkpoint_over_more_than_there_is_is_told_at_once() {
    for size in ["601", "9999999999", "4503599627370496"] {
        let folder = tempfile::tempdir().unwrap();
        let chain = three_logs(folder.path());
        let log = chain.log(1);
        let text = format!("{}\n{size}\n{}\n", log.origin, Tree::of(&log.entries).root(600));
        put(&log.folder.join("checkpoint"), format!("{text}\n{}", log.key.sign(&text)).as_bytes());
        verify(folder.path(), &[]).tampered("entries_missing", 1, missing_from(size));
    }
    for size in ["0600", "-1", "99999999999999999999", "4503599627370497", ""] {
        let folder = tempfile::tempdir().unwrap();
        let chain = three_logs(folder.path());
        let log = chain.log(1);
        let text = format!("{}\n{size}\n{}\n", log.origin, Tree::of(&log.entries).root(600));
        put(&log.folder.join("checkpoint"), format!("{text}\n{}", log.key.sign(&text)).as_bytes());
        verify(folder.path(), &[]).tampered("checkpoint", 1, None);
    }
}

/// The entries of the edge are there only under a name that belongs to another size.
fn missing_from(_size: &str) -> u64 {
    512
}

#[test]
fn what_is_no_entry_is_named_though_it_is_signed() {
    for bad in [
        &b"[]"[..],
        b"{\"time\":\"2026-11-25T08:00:00.000Z\",\"operation\":\"decrypt\"}",
        b"{\"time\":\"yesterday\",\"operation\":\"decrypt\",\"outcome\":\"ok\"}",
        b"{\"time\":\"2026-11-25T08:00:00.000Z\",\"operation\":\"decrypt\",\"outcome\":\"ok\",\"outcome\":\"ok\"}",
        b"{\"time\":\"2026-11-25T08:00:00.000Z\",\"operation\":\"decrypt\",\"outcome\":\"ok\",\"version\":\"1\"}",
        b"{\"time\":\"2026-11-25T08:00:00.000Z\",\"operation\":\"\xff\",\"outcome\":\"ok\"}",
        b"{\"time\":\"2026-11-25T08:00:00.000Z\",\"operation\":\"close\",\"outcome\":\"ok\"} ",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut chain = super::Chain::begin(folder.path(), super::authority());
        chain.open();
        chain.logs[0].entries.push(bad.to_vec());
        chain.close();
        let said = verify(folder.path(), &[]);
        said.tampered("entry", 1, 1);
        said.only(&["entry"]);
    }
}

#[test]
fn a_folder_without_a_log_is_wrong_usage() {
    let both = |folder: &Path| {
        let mut first = audit(&["verify"]);
        first.arg(folder);
        let (first, second) = (run(first), run(second(folder, &[])));
        assert_eq!((first.0, second.0), (2, 2), "{first:?} {second:?}");
        assert_eq!(first.1, "");
        first.2
    };
    let folder = tempfile::tempdir().unwrap();
    assert!(both(folder.path()).contains("000001-"), "it says what to name");
    assert!(both(&folder.path().join("nowhere")).contains("cannot open"));
    put(&folder.path().join("file"), b"x");
    both(&folder.path().join("file"));
    let chain = three_logs(folder.path());
    std::fs::remove_file(folder.path().join("authorities")).unwrap();
    assert!(both(folder.path()).contains("--authority"));
    drop(chain);
}
