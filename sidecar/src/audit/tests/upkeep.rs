//! What is done with logs that are over: when they are due, and what a pass costs that has nothing to do.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ed25519_dalek::{Signer as _, SigningKey};

use crate::audit::note::certified;
use crate::audit::testing::Place;
use crate::audit::*;
use crate::clock::{Clock as _, UnixSeconds};
use crate::root::authority::{AuthoritySignature, SignatureAlgorithm};

/// A place with a log that is closed and one that is open. Its logs are kept for a thousand seconds.
async fn two_logs() -> (Place, Log) {
    let place = Place::new();
    let (log, _) = place.open().await;
    let entries = (0..300).map(|number| format!("entry {number}").into_bytes()).collect();
    log.append_all(entries).await.unwrap();
    log.close(b"close".to_vec()).await.unwrap();
    let (log, _) = place.open().await;
    (place, log)
}

async fn due(place: &Place, log: &Log) -> Vec<u64> {
    let due = log.due_for_pruning(place.clock.now()).await.unwrap();
    due.iter().map(|old| old.number).collect()
}

/// The text of a certificate, in which its time is another one.
fn dated(certificate: &Path, time: UnixSeconds) -> String {
    let note = fs::read_to_string(certificate).unwrap();
    let (text, _) = note.split_once("\n\n").unwrap();
    let line = |line: &str| match line.starts_with("time ") {
        true => format!("time {time}\n"),
        false => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// `text` as a certificate of somebody who calls themselves as the root does, and their verification key.
fn forged(text: &str) -> (Vec<u8>, String) {
    let key = SigningKey::from_bytes(&[8; 32]);
    let signature = AuthoritySignature {
        name: "keypod-root/test".to_owned(),
        algorithm: SignatureAlgorithm::Ed25519,
        public_key: key.verifying_key().as_bytes().to_vec(),
        signature: key.sign(text.as_bytes()).to_vec(),
    };
    certified(text, &signature).unwrap()
}

#[tokio::test]
async fn a_log_whose_certificates_nobody_signed_is_never_due() {
    let (place, log) = two_logs().await;
    place.clock.advance(Duration::from_secs(700));
    assert!(due(&place, &log).await.is_empty());
    log.abandon();
    let early = UnixSeconds(place.clock.now().wall.0 - 5_000);
    let paths: Vec<_> = place.logs().iter().map(|log| log.join("certificate")).collect();
    let sound: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    let texts: Vec<_> = paths.iter().map(|path| dated(path, early)).collect();
    // Other words over the old signature: the sidecar that begins now is certified itself, and these two are not.
    for (path, text) in paths.iter().zip(&texts) {
        let note = fs::read_to_string(path).unwrap();
        let (_, signatures) = note.split_once("\n\n").unwrap();
        fs::write(path, format!("{text}\n{signatures}")).unwrap();
    }
    let (log, _) = place.open().await;
    place.clock.advance(Duration::from_secs(700));
    assert!(due(&place, &log).await.is_empty());
    // A signature of nobody's, whose key was written down while the sidecar ran.
    let mut keys = fs::read_to_string(place.top().join("authorities")).unwrap();
    for (path, text) in paths.iter().zip(&texts) {
        let (note, key) = forged(text);
        fs::write(path, note).unwrap();
        keys.push_str(&format!("{key}\n"));
    }
    fs::write(place.top().join("authorities"), keys).unwrap();
    place.clock.advance(Duration::from_secs(7_000));
    assert!(due(&place, &log).await.is_empty());
    for (path, note) in paths.iter().zip(sound) {
        fs::write(path, note).unwrap();
    }
    place.clock.advance(Duration::from_secs(7_000));
    assert_eq!(due(&place, &log).await, [1, 2]);
}

#[tokio::test]
async fn a_certificate_of_an_authority_that_was_written_down_before_the_start_is_believed() {
    let (place, log) = two_logs().await;
    log.abandon();
    let mut keys = fs::read_to_string(place.top().join("authorities")).unwrap();
    for log in place.logs() {
        let (note, key) = forged(&dated(&log.join("certificate"), place.clock.now().wall));
        fs::write(log.join("certificate"), note).unwrap();
        keys.push_str(&format!("no key\n{key}"));
    }
    fs::write(place.top().join("authorities"), keys).unwrap();
    let (log, _) = place.open().await;
    place.clock.advance(Duration::from_secs(2_000));
    assert_eq!(due(&place, &log).await, [1, 2]);
}

#[tokio::test]
async fn a_clock_that_was_set_forward_makes_no_log_due() {
    let (place, log) = two_logs().await;
    place.clock.jump_wall(place.clock.now().wall.after(Duration::from_secs(1 << 30)));
    for _ in 0..9 {
        place.clock.advance(Duration::from_secs(100));
        assert!(due(&place, &log).await.is_empty());
    }
    place.clock.advance(Duration::from_secs(200));
    assert_eq!(due(&place, &log).await, [1]);
}

#[tokio::test]
async fn a_sidecar_that_has_just_begun_deletes_nothing() {
    let (place, log) = two_logs().await;
    log.abandon();
    place.clock.advance(Duration::from_secs(5_000));
    let (log, _) = place.open().await;
    assert!(due(&place, &log).await.is_empty());
    place.clock.advance(Duration::from_secs(601));
    assert_eq!(due(&place, &log).await, [1]);
}

#[tokio::test]
async fn a_pass_over_what_is_done_touches_no_file() {
    let (place, log) = two_logs().await;
    assert_eq!(log.compress().await.unwrap().bundles, 1);
    place.clock.advance(Duration::from_secs(700));
    assert!(due(&place, &log).await.is_empty());
    let away = place.top().with_extension("away");
    fs::rename(place.top(), &away).unwrap();
    assert_eq!(log.compress().await.unwrap(), Compressed::default());
    assert!(due(&place, &log).await.is_empty());
    // It is looked for again when there may be something.
    place.clock.advance(Duration::from_secs(700));
    assert!(log.due_for_pruning(place.clock.now()).await.is_err());
    fs::rename(&away, place.top()).unwrap();
    assert_eq!(due(&place, &log).await, [1]);
}
