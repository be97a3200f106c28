//! Proofs: made from a log, checked without it, and worth nothing once a letter of them is another.

use std::path::Path;

use super::builder::{NoteKey, Tree, bundle, bundle_path, put};
use super::three_logs;
use super::verifiers::{audit, run};

fn prove(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = audit(&["prove"]);
    command.args(arguments).arg(folder);
    run(command)
}

fn check(proof: &Path, authority: &Path) -> (i32, String, String) {
    let mut command = audit(&["prove", "check", "--json"]);
    command.arg(proof).arg("--authority").arg(authority);
    run(command)
}

#[test]
fn an_entry_is_proven_to_whoever_has_the_authoritys_key() {
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    let elsewhere = tempfile::tempdir().unwrap();
    let authority = elsewhere.path().join("authorities");
    std::fs::copy(folder.path().join("authorities"), &authority).unwrap();
    let proof = elsewhere.path().join("proof");
    for (log, entry) in [(1, 0), (1, 255), (1, 256), (1, 599), (2, 17), (3, 39)] {
        let (log_text, entry_text) = (log.to_string(), entry.to_string());
        let asked = ["inclusion", "--log", &log_text, "--entry", &entry_text];
        let (code, text, errors) = prove(folder.path(), &asked);
        assert_eq!(code, 0, "{errors}");
        assert!(text.starts_with("c2sp.org/tlog-proof@v1\nextra "), "{text}");
        put(&proof, text.as_bytes());
        let (code, json, _) = check(&proof, &authority);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((code, &json["holds"], &json["log"]), (0, &true.into(), &log.into()));
        let wanted: serde_json::Value =
            serde_json::from_slice(&chain.log(log).entries[entry]).unwrap();
        assert_eq!((&json["shown"]["entry"], &json["shown"]["index"]), (&wanted, &entry.into()));
    }
    let (code, _, errors) = prove(folder.path(), &["inclusion", "--log", "3", "--entry", "40"]);
    assert!(code == 2 && errors.contains("over 40 entries"), "{errors}");
    assert_eq!(prove(folder.path(), &["inclusion", "--log", "4", "--entry", "0"]).0, 2);
}

#[test]
fn the_growth_of_a_log_is_proven() {
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    let authority = folder.path().join("authorities");
    let proof = folder.path().join("proof");
    let tree = Tree::of(&chain.log(1).entries);
    for (from, to) in [(1, 600), (256, 512), (300, 301), (600, 600)] {
        let (from_text, to_text) = (from.to_string(), to.to_string());
        let asked = ["consistency", "--log", "1", "--from", &from_text, "--to", &to_text];
        let (code, text, errors) = prove(folder.path(), &asked);
        assert_eq!(code, 0, "{errors}");
        put(&proof, text.as_bytes());
        let (code, json, _) = check(&proof, &authority);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(code, 0, "{json}");
        assert_eq!(json["shown"]["from"]["root"], tree.root(from).to_string());
        assert_eq!(json["shown"]["to"]["root"], tree.root(to).to_string());
    }
    for (from, to) in [("0", "5"), ("7", "6"), ("1", "601")] {
        let asked = ["consistency", "--log", "1", "--from", from, "--to", to];
        assert_eq!(prove(folder.path(), &asked).0, 2, "{from} {to}");
    }
}

#[test]
fn a_proof_with_another_letter_proves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    three_logs(folder.path());
    let authority = folder.path().join("authorities");
    let proof = folder.path().join("proof");
    for asked in [
        &["inclusion", "--log", "1", "--entry", "300"][..],
        &["consistency", "--log", "1", "--from", "300"],
    ] {
        let (_, text, _) = prove(folder.path(), asked);
        let bytes = text.into_bytes();
        // One letter in each line, and in long lines more.
        let mut places: Vec<usize> = (0..bytes.len()).step_by(97).collect();
        let ends = (0..bytes.len()).filter(|&at| bytes[at] == b'\n' && at > 3);
        places.extend(ends.map(|at| at - 3));
        for at in places {
            let mut changed = bytes.clone();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            put(&proof, &changed);
            let (code, json, errors) = check(&proof, &authority);
            assert!(code == 1 || code == 2, "{at}: {json}{errors}");
        }
        put(&proof, &bytes);
        assert_eq!(check(&proof, &authority).0, 0);
        put(
            &folder.path().join("others"),
            NoteKey::ed25519("x/y", "x").verification_key().as_bytes(),
        );
        let (code, json, _) = check(&proof, &folder.path().join("others"));
        assert!(code == 1 && json.contains("authority"), "{json}");
    }
}

#[test]
fn a_log_that_was_tampered_with_proves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    let log = chain.log(1);
    let mut entries = log.entries[256..512].to_vec();
    entries[0] = entries[1].clone();
    put(&bundle_path(&log.folder, 1, 256), &bundle(&entries));
    let asked = |entry| prove(folder.path(), &["inclusion", "--log", "1", "--entry", entry]);
    let (code, text, errors) = asked("256");
    assert!(code == 1 && text.is_empty() && errors.contains("verify"), "{errors}");
    assert_eq!(asked("257").0, 0, "its neighbour is as it was");
}
