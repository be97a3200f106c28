use std::io::Write as _;
use std::os::unix::fs::symlink;

use super::*;

fn bundle(entries: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend(u16::try_from(entry.len()).unwrap().to_be_bytes());
        bytes.extend(*entry);
    }
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A folder with one log and nothing in it.
fn one_log() -> (tempfile::TempDir, LogName) {
    let folder = tempfile::tempdir().unwrap();
    let name = LogName { number: 1, id: "a".to_owned() };
    std::fs::create_dir_all(folder.path().join("000001-a/tile/entries")).unwrap();
    (folder, name)
}

#[test]
fn a_log_is_named_by_number_and_id() {
    let parse = |name| LogName::parse(name).map(|log| (log.number, log.id, name.to_owned()));
    for (name, number) in
        [("000001-8f3a", 1), ("999999-a.b_c-d", 999_999), ("1000000-a", 1_000_000)]
    {
        let log = LogName::parse(name).unwrap();
        assert_eq!((log.number, log.to_string()), (number, name.to_owned()));
    }
    for bad in
        ["00001-a", "0000001-a", "000001", "000001-", "000001-a/b", "00000a-a", "000001-a b", ""]
    {
        assert_eq!(parse(bad), None, "{bad}");
    }
}

#[test]
fn tiles_are_named_as_the_specification_names_them() {
    assert_eq!(files::tile_path("entries", 1_234_067, 256), "tile/entries/x001/x234/067");
    assert_eq!(files::tile_path("0", 273, 112), "tile/0/273.p/112");
}

#[test]
fn a_bundle_is_taken_apart_and_what_is_left_is_counted() {
    let whole = bundle(&[b"{}", b"{\"a\":1}"]);
    let taken = Bundle::of(whole.clone());
    assert_eq!((taken.count(), taken.rest()), (2, 0));
    assert_eq!(taken.entries().collect::<Vec<_>>(), [&b"{}"[..], b"{\"a\":1}"]);
    for cut in 1..whole.len() {
        let taken = Bundle::of(whole[..cut].to_vec());
        assert_eq!(taken.count(), u64::from(cut >= 4), "{cut}");
        assert_eq!(taken.rest(), if cut >= 4 { cut - 4 } else { cut });
    }
    let taken = Bundle::of([whole, vec![0; 4096]].concat());
    assert_eq!((taken.count(), taken.rest()), (2, 4096));
    let many = Bundle::of(bundle(&[&b"x"[..]; 300]));
    assert_eq!((many.count(), many.rest()), (256, 44 * 3));
}

#[test]
fn a_bundle_is_read_plain_or_compressed() {
    let (folder, name) = one_log();
    let entries = folder.path().join("000001-a/tile/entries");
    let log = Folder::open(folder.path()).unwrap().log(&name).unwrap();
    assert_eq!(log.bundle(0), Err(Unread::Missing));
    std::fs::write(entries.join("000.gz"), gzip(b"abc")).unwrap();
    let stored = log.bundle(0).unwrap();
    assert_eq!((&*stored.bytes, stored.contradicted), (&b"abc"[..], false));
    std::fs::write(entries.join("000"), b"abc").unwrap();
    assert!(!log.bundle(0).unwrap().contradicted && log.has_bundle(0) && !log.has_bundle(1));
    std::fs::write(entries.join("000"), b"abd").unwrap();
    let stored = log.bundle(0).unwrap();
    assert_eq!((&*stored.bytes, stored.contradicted), (&b"abd"[..], true));
    assert!(matches!(&log.bundles().unwrap()[..], [run] if *run == (0..1)));
    std::fs::create_dir_all(entries.join("x001/x002")).unwrap();
    for name in ["x001/x002/007.gz", "001", "003", "000.p", "0004", "x001/000"] {
        std::fs::write(entries.join(name), b"").unwrap();
    }
    assert_eq!(log.bundles().unwrap(), [0..2, 3..4, 1000..1001, 1_002_007..1_002_008]);
}

#[test]
fn what_is_longer_than_its_form_is_not_read_on() {
    let (folder, name) = one_log();
    let log_folder = folder.path().join("000001-a");
    let log = Folder::open(folder.path()).unwrap().log(&name).unwrap();
    std::fs::write(log_folder.join("tile/entries/000.gz"), gzip(&vec![0; 64 << 20])).unwrap();
    assert!(matches!(log.bundle(0), Err(Unread::TooLong { .. })));
    std::fs::write(log_folder.join("tile/entries/001.gz"), b"\x1f\x8b\x08nonsense").unwrap();
    assert_eq!(log.bundle(1), Err(Unread::BadGzip));
    std::fs::write(log_folder.join("checkpoint"), vec![b'a'; NOTE_BYTES_MAX + 1]).unwrap();
    assert!(matches!(log.checkpoint(), Err(Unread::TooLong { .. })));
    // A sparse file of a terabyte.
    std::fs::File::create(log_folder.join("tail")).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(log.tail(), Err(Unread::TooLong { .. })));
}

#[test]
fn a_link_below_the_folder_is_not_followed() {
    let (folder, name) = one_log();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("000"), b"secret").unwrap();
    let log_folder = folder.path().join("000001-a");
    let opened = Folder::open(folder.path()).unwrap();
    let log = opened.log(&name).unwrap();
    symlink(outside.path().join("000"), log_folder.join("tile/entries/000")).unwrap();
    assert_eq!(log.bundle(0), Err(Unread::NotAFile));
    symlink(outside.path().join("000"), log_folder.join("tile/entries/001.gz")).unwrap();
    assert_eq!(log.bundle(1), Err(Unread::NotAFile));
    symlink(outside.path(), log_folder.join("tile/entries/x001")).unwrap();
    assert_eq!(log.bundle(1000), Err(Unread::NotAFile));
    symlink(outside.path().join("000"), log_folder.join("certificate")).unwrap();
    assert_eq!(log.certificate(), Err(Unread::NotAFile));
    symlink(outside.path(), folder.path().join("000002-b")).unwrap();
    let linked = LogName { number: 2, id: "b".to_owned() };
    assert_eq!(opened.log(&linked).unwrap_err(), Unread::NotAFile);
    rustix::fs::mkfifoat(rustix::fs::CWD, log_folder.join("tail"), rustix::fs::Mode::RUSR).unwrap();
    assert_eq!(log.tail(), Err(Unread::NotAFile), "a pipe is not waited for");
}

#[test]
fn the_lock_is_seen_while_somebody_holds_it() {
    let (folder, _) = one_log();
    let opened = Folder::open(folder.path()).unwrap();
    assert!(!opened.is_held());
    let lock = std::fs::File::create(folder.path().join("lock")).unwrap();
    assert!(!opened.is_held());
    lock.lock().unwrap();
    assert!(opened.is_held());
    lock.unlock().unwrap();
    assert!(!opened.is_held());
}

#[test]
fn a_folder_without_logs_is_told_from_none() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| Folder::open(&folder.path().join(name));
    assert!(matches!(open("nothing"), Err(ReaderError::Folder(_))));
    assert!(matches!(open("").unwrap().list(), Err(ReaderError::NoLogs)));
    std::fs::create_dir(folder.path().join("000002-b")).unwrap();
    for other in ["lost+found", ".000003-c"] {
        std::fs::create_dir(folder.path().join(other)).unwrap();
    }
    let listing = open("").unwrap().list().unwrap();
    assert_eq!((listing.logs.len(), &*listing.strays), (1, &["lost+found".to_owned()][..]));
}

#[test]
fn a_log_is_found_by_its_number() {
    let (folder, name) = one_log();
    for other in ["000002-c", "000002-b", "1000000-d"] {
        std::fs::create_dir(folder.path().join(other)).unwrap();
    }
    let opened = Folder::open(folder.path()).unwrap();
    assert_eq!(opened.find(1).unwrap(), Some(name));
    assert_eq!(opened.find(2).unwrap().unwrap().id, "b");
    assert_eq!(opened.find(1_000_000).unwrap().unwrap().id, "d");
    assert_eq!(opened.find(3).unwrap(), None);
}
