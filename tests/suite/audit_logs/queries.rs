//! Queries: what is found, where it is, and what is said when the log was tampered with.

use std::path::Path;

use serde_json::{Value, json};

use super::builder::{Chain, put, rfc3339};
use super::verifiers::{audit, run};
use super::{authority, three_logs};

fn query(folder: &Path, arguments: &[&str]) -> (i32, Vec<Value>, String) {
    let mut command = audit(&["query", "--json"]);
    command.args(arguments).arg(folder);
    let (code, text, errors) = run(command);
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (code, lines, errors)
}

#[test]
fn entries_are_found_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    let all: Vec<(u64, u64, Value)> = chain
        .logs
        .iter()
        .flat_map(|log| (0..).zip(&log.entries).map(|(at, entry)| (log.number, at, entry)))
        .map(|(log, at, entry)| (log, at, serde_json::from_slice(entry).unwrap()))
        .collect();
    let wanted = |is: &dyn Fn(&Value) -> bool| {
        let matching = all.iter().filter(|(_, _, entry)| is(entry));
        matching.map(|(log, at, _)| (*log, *at)).collect::<Vec<_>>()
    };
    let asked = |arguments: &[&str]| {
        let (code, lines, errors) = query(folder.path(), arguments);
        assert_eq!(code, 0, "{errors}");
        let place = |line: &Value| (line["log"].as_u64().unwrap(), line["entry"].as_u64().unwrap());
        lines.iter().map(place).collect::<Vec<_>>()
    };
    assert_eq!(asked(&[]).len(), 940);
    assert_eq!(asked(&["--caller", "billing"]), wanted(&|entry| entry["caller"] == "billing"));
    let denied = wanted(&|entry| entry["outcome"] == "denied" && entry["key"] == "cards");
    assert!(!denied.is_empty());
    assert_eq!(asked(&["--outcome", "denied", "--key", "cards"]), denied);
    assert_eq!(asked(&["--code", "forbidden"]), wanted(&|entry| entry["code"] == "forbidden"));
    let subject = "1:0000000000000000000017";
    let about = wanted(&|entry| entry["subject"] == subject);
    assert_eq!(asked(&["--subject", subject]), about);
    assert_eq!(asked(&["--subject", &subject[2..], "--no-verify"]), about);
    assert_eq!(asked(&["--operation", "close"]), [(1, 599), (2, 299), (3, 39)]);
    let since = rfc3339(chain.now_ms - 1000);
    let late =
        wanted(&|entry| entry["time"].as_str().unwrap() >= &*format!("{}000Z", &since[..20]));
    assert_eq!(asked(&["--since", &since]), late);
    assert_eq!(asked(&["--since", "2027-01-01"]), []);
    assert_eq!(asked(&["--limit", "3", "--key", "cards"]).len(), 3);
}

#[test]
fn what_is_found_is_the_entry_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    let (_, lines, _) =
        query(folder.path(), &["--request", &format!("{:032x}", 5), "--limit", "1"]);
    let mut line = lines[0].clone();
    let object = line.as_object_mut().unwrap();
    assert_eq!(object.remove("log"), Some(json!(1)));
    assert_eq!(object.remove("entry"), Some(json!(6)));
    assert_eq!(line, serde_json::from_slice::<Value>(&chain.log(1).entries[6]).unwrap());
}

#[test]
fn a_tampered_log_is_said_after_what_was_found() {
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    let tile = chain.log(2).folder.join("tile/0/000");
    let mut bytes = std::fs::read(&tile).unwrap();
    bytes[17 * 32] ^= 1;
    put(&tile, &bytes);
    let (code, lines, errors) = query(folder.path(), &["--caller", "billing"]);
    assert_eq!(code, 1);
    assert!(!lines.is_empty());
    assert!(errors.contains("tampered") && errors.contains("log 2, entry 17"), "{errors}");
    assert_eq!(query(folder.path(), &["--caller", "billing", "--no-verify"]).0, 0);
}

#[test]
fn an_entry_cannot_steer_a_terminal_or_break_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::begin(folder.path(), authority());
    chain.open();
    let entry =
        chain.entry("decrypt", &json!({ "caller": "a\u{1b}[2J\nb", "log": 7, "entry": "x" }));
    chain.logs[0].entries.push(entry);
    chain.close();
    let mut command = audit(&["query"]);
    command.arg(folder.path());
    let (code, text, _) = run(command);
    assert_eq!((code, text.lines().count()), (0, 4), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    let (_, lines, _) = query(folder.path(), &["--operation", "decrypt"]);
    assert_eq!(
        (&lines[0]["log"], &lines[0]["entry"]),
        (&json!(1), &json!(1)),
        "its place, not its word"
    );
}

#[test]
fn wrong_times_are_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    for bad in ["yesterday", "2026-13-01", "2026-11-25T08:00:00+01:00"] {
        assert_eq!(query(folder.path(), &["--since", bad]).0, 2, "{bad}");
    }
}
