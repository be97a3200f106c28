//! The root key's file: wrong, missing, too open, somebody else's, or of another root.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use keypod_tests::{Sidecar, SidecarBuilder};

use super::{CONFIGURATION, assert_nothing_is_lost, assert_says, is_root, stopped};

/// What is put in the place of a root key's file, and what the message must say.
type Fault = (fn(&Path), &'static [&'static str]);

const FAULTS: [Fault; 7] = [
    (|path| std::fs::write(path, [7; 31]).unwrap(), &["31 bytes", "exactly 32 raw bytes"]),
    (|path| std::fs::write(path, [7; 64]).unwrap(), &["64 bytes", "exactly 32 raw bytes"]),
    (|path| std::fs::write(path, []).unwrap(), &["0 bytes", "exactly 32 raw bytes"]),
    (|path| std::fs::remove_file(path).unwrap(), &["is not there", "/dev/urandom", "backup"]),
    (|path| set_mode(path, 0o644), &["mode 0644", "chmod 600"]),
    (
        |path| {
            std::fs::rename(path, beside(path)).unwrap();
            symlink(beside(path), path).unwrap();
        },
        &["symbolic link", "configure the path of the file itself"],
    ),
    (
        |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        },
        &["not a regular file", "root.local"],
    ),
];

fn beside(path: &Path) -> PathBuf {
    path.with_extension("real")
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_root_file_that_is_not_as_it_must_be_is_refused_with_what_to_do() {
    for (fault, words) in FAULTS {
        let builder = SidecarBuilder::new();
        builder.write();
        let path = builder.folder().join("root.key");
        fault(&path);
        let path = path.display().to_string();
        let words: Vec<_> = words.iter().copied().chain([path.as_str()]).collect();
        assert_says(builder.run_serve(&[]), CONFIGURATION, &words);
        let (status, text) = builder.run_serve(&["--check"]);
        assert_eq!(status.code(), CONFIGURATION, "--check finds it too: {text}");
    }
}

#[test]
fn a_root_file_of_another_user_is_refused() {
    if !is_root() {
        keypod_tests::skip("only root can give a file to another user");
        return;
    }
    let builder = SidecarBuilder::new();
    builder.write();
    let path = builder.folder().join("root.key");
    std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
    assert_says(builder.run_serve(&[]), CONFIGURATION, &["uid 12345", "chown 0", "root.key"]);
}

fn replace_root_key(sidecar: &Sidecar) -> Vec<u8> {
    let path = sidecar.folder().join("root.key");
    let old = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    keypod::root::local::LocalRoot::create_key_file(&path).unwrap();
    old
}

#[tokio::test]
async fn another_root_key_with_an_old_database_is_said_at_start_and_the_right_one_opens_it() {
    for preload in [false, true] {
        let (mut sidecar, ciphertext) = stopped().await;
        if preload {
            sidecar.set_variable("KEYPOD_CACHE__PRELOAD", "[demo]");
        }
        let old = replace_root_key(&sidecar);
        let words = ["keys.db", "another root key", "[root]", "root.domain", "another store"];
        assert_says(sidecar.fail_to_start_another(&[]), Some(1), &words);
        std::fs::write(sidecar.folder().join("root.key"), old).unwrap();
        assert_nothing_is_lost(sidecar, &ciphertext).await;
    }
}

#[tokio::test]
async fn another_domain_with_an_old_database_is_said_at_start() {
    let (sidecar, ciphertext) = stopped().await;
    let other = [("KEYPOD_ROOT__DOMAIN", "other")];
    let words = ["keys.db", "root.domain"];
    assert_says(sidecar.fail_to_start_another(&other), Some(1), &words);
    assert_nothing_is_lost(sidecar, &ciphertext).await;
}
