use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::root::authority::{Authority, SignatureAlgorithm};
use crate::root::conformance::{Which, every_authority_conforms, every_root_conforms};
use crate::secret::Protection;

/// The cheapest parameters that are allowed: 19 MiB and 2 iterations.
const CHEAP_SALT: &str = r#"{"version":1,"kdf":"argon2id","memory_kib":19456,"iterations":2,"lanes":1,"salt":"AAECAwQFBgcICQoLDA0ODw=="}"#;

fn arena() -> Arena {
    Arena::new(Protection::Heap).unwrap()
}

fn private_file(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn key_file_error(path: &Path) -> String {
    LocalRoot::from_key_file(path, &arena()).unwrap_err().to_string()
}

fn passphrase_error(passphrase: &Path, salt: &Path) -> String {
    LocalRoot::from_passphrase(passphrase, salt, &arena()).unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_with_a_key_file_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let path = |which| folder.path().join(format!("{which:?}.key"));
    for which in [Which::This, Which::Another] {
        LocalRoot::create_key_file(&path(which)).unwrap();
    }
    let arena = arena();
    every_root_conforms(async |which| {
        Arc::new(LocalRoot::from_key_file(&path(which), &arena).unwrap()) as Arc<dyn Root>
    })
    .await;
    assert_eq!(arena.slots_used(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_with_a_passphrase_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let salt = private_file(&folder, "salt", CHEAP_SALT.as_bytes());
    let arena = arena();
    every_root_conforms(async |which| {
        let words = format!("correct horse battery staple {which:?}\n");
        let passphrase = private_file(&folder, "passphrase", words.as_bytes());
        Arc::new(LocalRoot::from_passphrase(&passphrase, &salt, &arena).unwrap()) as Arc<dyn Root>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_authority_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let path = |which| folder.path().join(format!("{which:?}.key"));
    for which in [Which::This, Which::Another] {
        LocalRoot::create_key_file(&path(which)).unwrap();
    }
    let arena = arena();
    every_authority_conforms(SignatureAlgorithm::Ed25519, async |which| {
        let root = LocalRoot::from_key_file(&path(which), &arena).unwrap();
        Arc::new(root.authority().unwrap()) as Arc<dyn Authority>
    })
    .await;
    assert_eq!(arena.slots_used(), 0);
}

/// Of the key file of 32 bytes 0x42, made with another implementation of HKDF and of Ed25519: no log that it certified
/// would verify any more if this changed.
#[tokio::test]
async fn the_authority_of_a_root_key_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let key_file = private_file(&folder, "key", &[0x42; 32]);
    let root = LocalRoot::from_key_file(&key_file, &arena()).unwrap();
    let signed = root.authority().unwrap().sign(b"keypod").await.unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(signed.name, "keypod-root/local");
    assert_eq!(hex(&signed.public_key), AUTHORITY_VECTOR.0);
    assert_eq!(hex(&signed.signature), AUTHORITY_VECTOR.1);
    let debug = format!("{:?}", root.authority().unwrap());
    assert!(debug.contains("SigningSeed(32 bytes)"), "{debug}");
}

#[tokio::test]
async fn the_wrapped_form_and_the_derivation_stay_as_they_are() {
    use crate::names::{KeyId, KeyRef, KeyVersion};
    let folder = tempfile::tempdir().unwrap();
    let key = KeyRef { id: KeyId::from_bytes([7; 8]), version: KeyVersion::FIRST };
    let binding = Binding { key, domain: "default" };
    let passphrase = private_file(&folder, "passphrase", b"correct horse battery staple\r\n");
    let salt = private_file(&folder, "salt", CHEAP_SALT.as_bytes());
    let key_file = private_file(&folder, "key", &[0x42; 32]);
    let roots = [
        (LocalRoot::from_key_file(&key_file, &arena()).unwrap(), KEY_FILE_VECTOR),
        (LocalRoot::from_passphrase(&passphrase, &salt, &arena()).unwrap(), PASSPHRASE_VECTOR),
    ];
    for (root, (fingerprint, wrapped)) in roots {
        assert_eq!(root.describe().fingerprint.as_deref(), Some(fingerprint));
        let wrapped: Vec<u8> = (0..wrapped.len() / 2)
            .map(|at| u8::from_str_radix(&wrapped[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        let opened = root.unwrap_key(&WrappedKey::from_bytes(wrapped), binding).await.unwrap();
        assert_eq!(opened.expose_bytes(), &[0xa5; 32]);
    }
}

/// Fingerprint, and `0xa5` 32 times as wrapped; both checked with another implementation (Python's `cryptography`).
const KEY_FILE_VECTOR: (&str, &str) = (
    "9dd7b64f",
    "01a948273c7d11c2bd7fd3572be76d6717969ab28badcbd1a9e72eb82ba35714605901807723ff82528a02f9afcc75643ce31b934a259caede42ad8b33",
);
const PASSPHRASE_VECTOR: (&str, &str) = (
    "b1a4ad0b",
    "0182f5ee86c9d4f9a46a5f34eac7514755ff7a73dd0917eb6fcf300fe4515cbc87abb3c39dd099b226f9f9004d37fa7647097931ab80cb9bb1a57dfd35",
);

#[test]
fn a_new_key_file_is_private_complete_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.key");
    LocalRoot::create_key_file(&path).unwrap();
    let made = fs::metadata(&path).unwrap();
    assert_eq!((made.len(), made.mode() & 0o7777), (32, 0o600));
    let before = fs::read(&path).unwrap();
    let again = LocalRoot::create_key_file(&path);
    assert!(matches!(again, Err(LocalRootError::Exists { .. })), "{again:?}");
    symlink("elsewhere", folder.path().join("link")).unwrap();
    let link = LocalRoot::create_key_file(&folder.path().join("link"));
    assert!(matches!(link, Err(LocalRootError::Exists { .. })), "{link:?}");
    assert_eq!(fs::read(&path).unwrap(), before);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "no temporary file stays");
}

#[test]
fn a_new_salt_file_opens_with_its_passphrase() {
    let folder = tempfile::tempdir().unwrap();
    let salt = folder.path().join("salt");
    LocalRoot::create_salt_file(&salt).unwrap();
    assert!(matches!(LocalRoot::create_salt_file(&salt), Err(LocalRootError::Exists { .. })));
    let passphrase = private_file(&folder, "passphrase", b"correct horse battery staple");
    assert!(LocalRoot::from_passphrase(&passphrase, &salt, &arena()).is_ok());
}

#[test]
fn a_missing_file_names_the_command_that_makes_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = |error: &str| {
        let (_, command) = error.split_once("make it with: ").unwrap();
        let (command, _) = command.split_once("; otherwise").unwrap();
        assert!(std::process::Command::new("sh").args(["-c", command]).status().unwrap().success());
    };
    let key = folder.path().join("key");
    run(&key_file_error(&key));
    assert!(LocalRoot::from_key_file(&key, &arena()).is_ok());

    let (passphrase, salt) = (folder.path().join("passphrase"), folder.path().join("salt"));
    run(&passphrase_error(&passphrase, &salt));
    run(&passphrase_error(&passphrase, &salt));
    assert!(LocalRoot::from_passphrase(&passphrase, &salt, &arena()).is_ok());
}

#[test]
fn a_key_of_the_wrong_length_is_refused_with_both_lengths() {
    let folder = tempfile::tempdir().unwrap();
    for len in [0, 31, 33, 64] {
        let error = key_file_error(&private_file(&folder, "key", &vec![b'a'; len]));
        assert!(error.contains(&format!("key is {len} bytes long")), "{error}");
        assert!(error.contains("exactly 32 raw bytes"), "{error}");
    }
}

#[test]
fn a_file_that_others_can_reach_is_refused_with_the_chmod_that_helps() {
    let folder = tempfile::tempdir().unwrap();
    let path = private_file(&folder, "key", &[1; 32]);
    for mode in [0o640, 0o604, 0o660, 0o601, 0o620] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = key_file_error(&path);
        assert!(error.contains(&format!("chmod 600 {}", path.display())), "{error}");
        let salt = private_file(&folder, "salt", CHEAP_SALT.as_bytes());
        assert!(passphrase_error(&path, &salt).contains("chmod 600"));
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(LocalRoot::from_key_file(&path, &arena()).is_ok(), "read-only is private enough");
}

#[test]
fn a_foreign_file_is_refused_with_the_chown_that_helps() {
    let folder = tempfile::tempdir().unwrap();
    let path = private_file(&folder, "key", &[1; 32]);
    if !rustix::process::geteuid().is_root() {
        return; // Only root can give a file away.
    }
    std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
    let error = key_file_error(&path);
    assert!(error.contains("belongs to uid 65534") && error.contains("chown 0"), "{error}");
}

#[test]
fn links_folders_and_pipes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link");
    symlink(private_file(&folder, "key", &[1; 32]), &link).unwrap();
    assert!(key_file_error(&link).contains("symbolic link"));
    assert!(key_file_error(folder.path()).contains("not a regular file"));
    let pipe = folder.path().join("pipe");
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(key_file_error(&pipe).contains("not a regular file"));
}

#[test]
fn weak_absurd_and_damaged_salt_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let passphrase = private_file(&folder, "passphrase", b"correct horse battery staple");
    let long_salt = format!("\"{}\"", STANDARD_64.repeat(2));
    let changes = [
        ("19456", "19455"),
        ("19456", "2097153"),
        ("19456", "4294967296"),
        (r#""iterations":2"#, r#""iterations":1"#),
        (r#""iterations":2"#, r#""iterations":65"#),
        (r#""lanes":1"#, r#""lanes":0"#),
        (r#""lanes":1"#, r#""lanes":17"#),
        (r#""version":1"#, r#""version":2"#),
        ("argon2id", "argon2i"),
        (r#""AAECAwQFBgcICQoLDA0ODw==""#, r#""AAECAwQFBgcICQoLDA0O""#),
        (r#""AAECAwQFBgcICQoLDA0ODw==""#, long_salt.as_str()),
        ("==", "="),
        ("{", r#"{"pepper":1,"#),
        ("{", ""),
    ];
    for (old, new) in changes {
        let text = CHEAP_SALT.replacen(old, new, 1);
        assert_ne!(text, CHEAP_SALT);
        let error = passphrase_error(&passphrase, &private_file(&folder, "salt", text.as_bytes()));
        assert!(error.contains("salt is not a usable salt file: "), "{text}: {error}");
    }
    let endless = private_file(&folder, "salt", &[b' '; 1025]);
    assert!(passphrase_error(&passphrase, &endless).contains("1025 bytes long"));
}

/// 63 bytes in base64.
const STANDARD_64: &str =
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[test]
fn passphrases_that_can_be_guessed_or_are_none_are_refused_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let salt = private_file(&folder, "salt", CHEAP_SALT.as_bytes());
    for (passphrase, len) in [("", 0), ("\n", 0), ("hunter2hunter2!\r\n", 15)] {
        let path = private_file(&folder, "passphrase", passphrase.as_bytes());
        let error = passphrase_error(&path, &salt);
        assert!(error.contains(&format!("is {len} bytes long")), "{error}");
        assert!(!error.contains("hunter2"));
    }
    for len in [1025, 5000] {
        let path = private_file(&folder, "passphrase", "x".repeat(len).as_bytes());
        assert!(passphrase_error(&path, &salt).contains(&format!("is {len} bytes long")));
    }
}

#[test]
fn one_newline_at_the_end_does_not_change_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let salt = private_file(&folder, "salt", CHEAP_SALT.as_bytes());
    let fingerprint = |text: &str| {
        let path = private_file(&folder, "passphrase", text.as_bytes());
        LocalRoot::from_passphrase(&path, &salt, &arena()).unwrap().describe().fingerprint
    };
    let plain = fingerprint("correct horse battery staple");
    assert_eq!(fingerprint("correct horse battery staple\n"), plain);
    assert_ne!(fingerprint("correct horse battery staple\n\n"), plain);
}

/// The public key, and the signature of `keypod`.
const AUTHORITY_VECTOR: (&str, &str) = (
    "3e296b892a7a96e395a65b2b9237802f767a01d4f34e6f1e43e683f00eb4c127",
    "0b3f8e93fa454d1e7fd5af39f2115f3d1754e67b82e58323c5f524f7da0f569724c004a251ca969fce9af05f89cc4cb8140f28c2d690e5bb477b0da21f14560e",
);
