//! Files, folders and standard input through a sidecar: whole results under their names, or none.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use keypod_tests::{Sidecar, WAIT_MAX};
use tokio::io::AsyncWriteExt as _;

use super::{command, end, names, run};

/// Longer than a segment, and no multiple of one.
fn long() -> Vec<u8> {
    (0..300_000_u32).flat_map(u32::to_be_bytes).collect()
}

/// A folder for files inside the sidecar's own, and its path as text.
fn folder(sidecar: &Sidecar, name: &str) -> String {
    let folder = sidecar.folder().join(name);
    std::fs::create_dir(&folder).unwrap();
    folder.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn standard_input_goes_through_in_both_forms() {
    let sidecar = Sidecar::start().await;
    let context = ["--context", "tenant=clinic-7", "--context", "record=r-1029"];
    for (text, plaintext) in [(true, b"secret".to_vec()), (false, long()), (false, Vec::new())] {
        let form: &[&str] = if text { &["--text"] } else { &[] };
        let arguments = [&["encrypt", "--key", "demo"], &context[..], form].concat();
        let sealed = end(command(&sidecar, &arguments), &plaintext).await.succeeded();
        assert_eq!(sealed.stdout.starts_with(b"kp1."), text);
        let arguments = [&["decrypt"], &context[..]].concat();
        let opened = end(command(&sidecar, &arguments), &sealed.stdout).await.succeeded();
        assert!(opened.stdout == plaintext);
        let wrong = end(command(&sidecar, &["decrypt"]), &sealed.stdout).await;
        assert_eq!((wrong.code, wrong.stdout.len()), (1, 0), "{}", wrong.text());
        assert!(wrong.stderr.contains("decryption_failed"), "{}", wrong.stderr);
    }
}

#[tokio::test]
async fn a_file_is_written_beside_itself_and_comes_back() {
    let sidecar = Sidecar::start().await;
    let files = folder(&sidecar, "files");
    let (plain, sealed) = (format!("{files}/record.pdf"), format!("{files}/record.pdf.kp1"));
    std::fs::write(&plain, long()).unwrap();
    std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o640)).unwrap();
    run(&sidecar, &["encrypt", "--key", "demo", &plain]).await.succeeded();
    assert_eq!(names(Path::new(&files)), ["record.pdf", "record.pdf.kp1"]);
    let again = run(&sidecar, &["encrypt", "--key", "demo", &plain]).await;
    assert!(again.code == 1 && again.stderr.contains("--force"), "{}", again.text());
    std::fs::remove_file(&plain).unwrap();
    run(&sidecar, &["decrypt", "--key", "demo", &sealed]).await.succeeded();
    assert!(std::fs::read(&plain).unwrap() == long());
    let mode = std::fs::metadata(&plain).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "plaintext is for its owner alone");
    let other = run(&sidecar, &["decrypt", "--key", "other", "--force", &sealed]).await;
    assert_eq!(other.code, 1, "it was not encrypted with that key: {}", other.text());
}

#[tokio::test]
async fn a_folder_goes_through_file_by_file_and_is_rewrapped_in_place() {
    let sidecar = Sidecar::start().await;
    let files = folder(&sidecar, "files");
    std::fs::create_dir(format!("{files}/sub")).unwrap();
    let contents = [("empty", Vec::new()), ("one.json", b"{}".to_vec()), ("sub/long", long())];
    for (name, content) in &contents {
        std::fs::write(format!("{files}/{name}"), content).unwrap();
    }
    let (sealed, opened) = (format!("{files}-sealed"), format!("{files}-opened"));
    let encrypt = ["encrypt", "--key", "demo", "--json", &files, "--output", &sealed];
    let lines = run(&sidecar, &encrypt).await.succeeded().text();
    assert_eq!(lines.matches(r#""key_version":1"#).count(), 3, "{lines}");
    run(&sidecar, &["keys", "rotate", "demo"]).await.succeeded();
    let rewrap = ["rewrap", "--json", "--new-context", "tenant=clinic-7", &sealed];
    let lines = run(&sidecar, &rewrap).await.succeeded().text();
    assert_eq!(lines.matches(r#""key_version":2"#).count(), 3, "{lines}");
    let decrypt = ["decrypt", "--context", "tenant=clinic-7", &sealed, "--output", &opened];
    run(&sidecar, &decrypt).await.succeeded();
    for (name, content) in &contents {
        assert!(std::fs::read(format!("{opened}/{name}")).unwrap() == *content, "{name}");
    }
}

#[tokio::test]
async fn one_damaged_file_of_many_fails_alone() {
    let sidecar = Sidecar::start().await;
    let files = folder(&sidecar, "files");
    for name in ["a", "b", "c"] {
        std::fs::write(format!("{files}/{name}"), long()).unwrap();
    }
    run(&sidecar, &["encrypt", "--key", "demo", &files]).await.succeeded();
    let mut damaged = std::fs::read(format!("{files}/b.kp1")).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(format!("{files}/b.kp1"), damaged).unwrap();
    let opened = format!("{files}-opened");
    let ended = run(&sidecar, &["decrypt", &files, "--output", &opened]).await;
    assert_eq!(ended.code, 1, "{}", ended.text());
    assert!(ended.stderr.contains("b.kp1") && ended.stderr.contains("2 decrypted, 1 failed"));
    assert_eq!(names(Path::new(&opened)), ["a", "c"], "no half file and no temporary one");
}

/// The sidecar dies while a file is on its way: nothing appears, under its name or another.
#[tokio::test]
async fn a_sidecar_that_dies_in_the_middle_leaves_no_file() {
    let mut sidecar = Sidecar::start().await;
    let files = folder(&sidecar, "files");
    let sealing = end(command(&sidecar, &["encrypt", "--key", "demo"]), &long()).await.succeeded();
    for (arguments, first) in [
        (["encrypt", "--key", "demo", "--output", "files/result"], long()),
        (
            ["decrypt", "--key", "demo", "--output", "files/result"],
            sealing.stdout[..900_000].to_vec(),
        ),
    ] {
        let mut child = command(&sidecar, &arguments).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&first).await.unwrap();
        // It has begun once its temporary file has something in it.
        let begun = async {
            let size = |name: &String| {
                std::fs::metadata(format!("{files}/{name}")).map_or(0, |file| file.len())
            };
            while names(Path::new(&files)).iter().all(|name| size(name) == 0) {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(WAIT_MAX, begun).await.expect("it begins to write");
        sidecar.kill().await;
        let _ = stdin.write_all(&long()).await;
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        assert_eq!(names(Path::new(&files)), [] as [&str; 0], "{arguments:?}: {text}");
        sidecar.restart().await;
    }
}
