//! Logs that nobody tampered with: clean, open, ended uncleanly, pruned, compressed, witnessed.

use serde_json::{Value, json};

use super::builder::{Chain, NoteKey, bundle, bundle_path, entry, gzip, put, rfc3339};
use super::verifiers::{audit, run, second, verify};
use super::{authority, three_logs};

#[test]
fn a_chain_of_closed_logs_is_clean() {
    let folder = tempfile::tempdir().unwrap();
    three_logs(folder.path());
    let said = verify(folder.path(), &[]);
    said.is("clean");
    assert_eq!(said.json["entries"], 940);
    assert_eq!(said.json["trusts_itself"], true);
    assert_eq!(said.remarks(), "[]");
}

#[test]
fn an_authority_may_sign_with_ecdsa() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::begin(folder.path(), NoteKey::p256("kms.example/alias/audit"));
    chain.closed(10);
    verify(folder.path(), &[]).is("clean");
    // The key that was given, and not the folder's own list.
    let file = folder.path().join("given");
    put(&file, chain.authority.verification_key().as_bytes());
    std::fs::remove_file(folder.path().join("authorities")).unwrap();
    let said = verify(folder.path(), &["--authority", file.to_str().unwrap()]);
    said.is("clean");
    assert_eq!(said.json["trusts_itself"], false);
    put(&file, NoteKey::p256("kms.example/alias/audit").verification_key().as_bytes());
    verify(folder.path(), &["--authority", file.to_str().unwrap()]).tampered("authority", 1, None);
}

#[test]
fn a_killed_sidecar_leaves_an_unclean_end_and_what_vouches_for_it_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::begin(folder.path(), authority());
    chain.killed(700, 300);
    chain.killed(400, 390);
    let said = verify(folder.path(), &[]);
    said.is("unclean end");
    let log = |at: usize, field: &str| said.json["logs"][at][field].as_u64().unwrap();
    assert_eq!([log(0, "entries"), log(0, "signed"), log(0, "vouched_by_next")], [700, 300, 400]);
    assert_eq!(
        [log(1, "signed"), log(1, "vouched_by_next"), log(1, "vouched_by_nothing")],
        [390, 0, 10]
    );
    assert_eq!(log(0, "vouched_by_nothing"), 0);
    for mut command in [audit(&["verify", "--strict"]), second(folder.path(), &["--strict"])] {
        command.arg(folder.path());
        if command.get_args().count() > 4 {
            // The second has the folder already.
            command = second(folder.path(), &["--strict"]);
        }
        assert_eq!(run(command).0, 1, "--strict");
    }
}

#[test]
fn a_log_that_is_being_written_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = three_logs(folder.path());
    chain.killed(500, 450);
    let lock = std::fs::File::open(folder.path().join("lock")).unwrap();
    lock.lock().unwrap();
    let said = verify(folder.path(), &[]);
    said.is("open");
    assert_eq!(said.json["logs"][3]["vouched_by_nothing"], 50);
    drop(lock);
    verify(folder.path(), &[]).is("unclean end");
}

#[test]
fn a_tail_that_a_crash_tore_is_an_unclean_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::begin(folder.path(), authority());
    chain.killed(300, 280);
    let tail = chain.log(1).folder.join("tail");
    let mut bytes = std::fs::read(&tail).unwrap();
    bytes.truncate(bytes.len() - 7);
    put(&tail, &bytes);
    let said = verify(folder.path(), &[]);
    said.is("unclean end");
    assert_eq!(said.json["entries"], 299);
    assert!(said.remarks().contains("no whole entry"), "{}", said.remarks());
    // Or left zeros where bytes should have come.
    put(&tail, &[bundle(&chain.log(1).entries[256..]), vec![0; 4096]].concat());
    assert_eq!(verify(folder.path(), &[]).json["entries"], 300);
    // Or came before the tail, which had become a bundle's worth, was named one.
    chain.work(212);
    let log = &chain.logs[0];
    put(&tail, &bundle(&log.entries[256..512]));
    let said = verify(folder.path(), &[]);
    assert_eq!((&*said.verdict, said.json["entries"].as_u64()), ("unclean end", Some(512)));
    // Or after that, and before there was another.
    std::fs::rename(&tail, bundle_path(&log.folder, 1, 256)).unwrap();
    let said = verify(folder.path(), &[]);
    assert_eq!((&*said.verdict, said.json["entries"].as_u64()), ("unclean end", Some(512)));
}

#[test]
fn a_log_that_a_sidecar_only_began_is_an_unclean_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::begin(folder.path(), authority());
    chain.closed(20);
    chain.open();
    verify(folder.path(), &[]).is("unclean end");
    let log = chain.log(2);
    put(&log.folder.join("tail"), &bundle(&log.entries));
    verify(folder.path(), &[]).is("unclean end");
    // More than `start` is never there without a checkpoint: one was taken away.
    chain.work(5);
    let log = chain.log(2);
    put(&log.folder.join("tail"), &bundle(&log.entries));
    verify(folder.path(), &[]).tampered("checkpoint", 2, None);
}

#[test]
fn compressed_bundles_are_as_good_as_plain_ones() {
    let folder = tempfile::tempdir().unwrap();
    let chain = three_logs(folder.path());
    for (log, index) in [(1, 0), (1, 1), (2, 0)] {
        let plain = bundle_path(&chain.log(log).folder, index, 256);
        let bytes = std::fs::read(&plain).unwrap();
        put(&plain.with_extension("gz"), &gzip(&bytes));
        std::fs::remove_file(&plain).unwrap();
    }
    verify(folder.path(), &[]).is("clean");
    let plain = bundle_path(&chain.log(1).folder, 1, 256);
    put(&plain.with_extension("gz"), b"\x1f\x8b\x08 nonsense");
    verify(folder.path(), &[]).tampered("entries_missing", 1, 256);
}

/// A chain whose first log is pruned in time, as an entry of the newest says.
fn pruned(chain: &mut Chain) {
    chain.now_ms += 3_600_000;
    chain.open();
    chain.work(3);
    let detail = chain.prune(1, 3_600);
    let prune = chain.entry("prune", &json!({ "detail": detail }));
    chain.logs.last_mut().unwrap().entries.push(prune);
    chain.close();
}

#[test]
fn a_pruned_log_is_clean_if_a_later_entry_says_so_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = three_logs(folder.path());
    pruned(&mut chain);
    let said = verify(folder.path(), &[]);
    said.is("clean");
    assert_eq!(said.json["logs"][0]["state"], "pruned");
    // Without that entry it is tampered with, and so is another that no entry names.
    std::fs::remove_dir_all(&chain.log(4).folder).unwrap();
    verify(folder.path(), &[]).tampered("entries_missing", 1, 0);
    std::fs::remove_dir_all(folder.path()).unwrap();
    let mut chain = three_logs(folder.path());
    pruned(&mut chain);
    std::fs::remove_dir_all(chain.log(2).folder.join("tile")).unwrap();
    verify(folder.path(), &[]).tampered("entries_missing", 2, 0);
}

#[test]
fn a_log_that_was_pruned_before_its_time_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let verdict_of = |change: &dyn Fn(&mut Value, u64)| {
        let _ = std::fs::remove_dir_all(folder.path());
        let mut chain = three_logs(folder.path());
        let ended_ms = chain.logs[1].began_ms / 1000 * 1000;
        chain.open();
        // The last moment at which it is early; entries are ten milliseconds apart.
        chain.now_ms = ended_ms + 3_600_000 - 20;
        let mut detail = chain.prune(1, 3_600);
        change(&mut detail, ended_ms);
        let prune = chain.entry("prune", &json!({ "detail": detail }));
        chain.logs.last_mut().unwrap().entries.push(prune);
        chain.close();
        verify(folder.path(), &[])
    };
    let early = verdict_of(&|_, _| {});
    early.tampered("pruned_early", 4, 1);
    early.only(&["pruned_early"]);
    verdict_of(&|detail, _| detail["retention_s"] = json!(3_599)).is("clean");
    // An end that no certificate has: an older one was there once, or none was looked at.
    let said = verdict_of(&|detail, ended_ms| {
        detail["ended"] = json!(format!("{}Z", &rfc3339(ended_ms - 60_000)[..19]));
    });
    said.tampered("pruned_early", 4, 1);
    for (field, value) in [
        ("retention_s", Value::Null),
        ("retention_s", json!(-1)),
        ("retention_s", json!(1.5)),
        ("retention_s", json!("3599")),
        ("ended", Value::Null),
        ("ended", json!("yesterday")),
    ] {
        let said = verdict_of(&|detail, _| {
            detail["retention_s"] = json!(3_599);
            detail[field] = value.clone();
        });
        said.tampered("pruned_early", 4, 1);
    }
}

#[test]
fn a_log_that_was_kept_for_less_than_somebody_wants_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = three_logs(folder.path());
    pruned(&mut chain);
    verify(folder.path(), &["--retention-min", "3600s"]).is("clean");
    verify(folder.path(), &["--retention-min", "3601s"]).tampered("pruned_early", 4, 4);
}

#[test]
fn the_end_of_a_log_is_the_later_of_its_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::begin(folder.path(), authority());
    chain.closed(10);
    // The next sidecar's clock is a year behind.
    chain.now_ms -= 365 * 86_400_000;
    chain.closed(10);
    chain.now_ms += 3_600_000;
    chain.open();
    let detail = chain.prune(1, 3_600);
    let prune = chain.entry("prune", &json!({ "detail": detail }));
    chain.logs.last_mut().unwrap().entries.push(prune);
    chain.close();
    verify(folder.path(), &[]).tampered("pruned_early", 3, 1);
}

#[test]
fn a_prune_entry_that_nothing_vouches_for_excuses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = three_logs(folder.path());
    chain.killed(10, 10);
    let detail = chain.prune(1, 0);
    let forged = entry(chain.now_ms + 10, "prune", &json!({ "detail": detail }));
    let last = chain.log(4);
    put(&last.folder.join("tail"), &bundle(&[&last.entries[..], &[forged]].concat()));
    verify(folder.path(), &[]).tampered("entries_missing", 1, 0);
}

#[test]
fn a_clock_that_ran_backwards_is_a_note_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::begin(folder.path(), authority());
    chain.open();
    chain.work(30);
    chain.now_ms -= 5000;
    chain.work(30);
    chain.close();
    let said = verify(folder.path(), &[]);
    said.is("clean");
    assert_eq!(said.json["remarks"][0]["entry"], 31);
    assert!(said.remarks().contains("backwards"), "{}", said.remarks());
}

#[test]
fn a_field_of_a_later_version_is_a_note() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::begin(folder.path(), authority());
    chain.open();
    let later = chain.entry("foresee", &json!({ "flags": ["burst"], "outcome": "deferred" }));
    chain.logs[0].entries.push(later);
    chain.close();
    let said = verify(folder.path(), &[]);
    said.is("clean");
    assert!(said.remarks().contains("flags"), "{}", said.remarks());
}

#[test]
fn line_ends_and_control_characters_stay_within_their_entry() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::begin(folder.path(), authority());
    chain.open();
    let nasty = "a\nb\r\n\u{0}\u{1b}[2J\u{2028}\u{85}\"}{\"operation\":\"close\"}";
    let fields = json!({ "caller": nasty, "detail": { "reason": nasty } });
    let entry = chain.entry("decrypt", &fields);
    assert!(entry.iter().all(|&byte| byte >= 0x20), "serde_json writes them as escapes");
    chain.logs[0].entries.push(entry);
    chain.close();
    verify(folder.path(), &[]).is("clean");
    // Raw, they make it no entry, though all is signed.
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::begin(folder.path(), authority());
    chain.open();
    let entry = chain.entry("decrypt", &json!({ "caller": "ab" }));
    let raw = String::from_utf8(entry).unwrap().replace("ab", "a\nb").into_bytes();
    chain.logs[0].entries.push(raw);
    chain.close();
    let said = verify(folder.path(), &[]);
    said.tampered("entry", 1, 1);
    said.only(&["entry"]);
}

#[test]
fn witnesses_are_counted_and_a_false_one_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::begin(folder.path(), authority());
    chain.closed(10);
    let log = chain.log(1);
    let text = log.checkpoint_text(10);
    let witnesses: Vec<_> = ["one", "two", "three"]
        .map(|name| NoteKey::ed25519(&format!("witness.example/{name}"), name))
        .into();
    let keys: Vec<_> = witnesses.iter().map(NoteKey::witness_key).collect();
    let file = folder.path().join("witnesses");
    put(&file, format!("{}\n", keys.join("\n")).as_bytes());
    let checkpoint = log.folder.join("checkpoint");
    let cosigned = |lines: &[String]| {
        put(&checkpoint, format!("{}{}", log.checkpoint(10), lines.concat()).as_bytes());
    };
    let ask = |count: &str| {
        let mut command = audit(&["verify", "--json", "--witness-key", file.to_str().unwrap()]);
        command.args(["--witnessed", count]).arg(folder.path());
        let (code, json, _) = run(command);
        (code, json)
    };
    let lines: Vec<_> = witnesses.iter().map(|key| key.cosign(&text, 1_795_593_600)).collect();
    cosigned(&lines[..2]);
    assert_eq!(ask("2").0, 0);
    let (code, json) = ask("3");
    assert!(code == 1 && json.contains("\"witnesses\""), "{json}");
    // The same one twice is one.
    cosigned(&[lines[0].clone(), lines[0].clone()]);
    assert_eq!(ask("2").0, 1);
    // A signature over another text, or by another witness.
    cosigned(&[witnesses[0].cosign(&log.checkpoint_text(9), 1_795_593_600)]);
    assert_eq!(ask("1").0, 1);
    // Unknown ones do no harm.
    let stranger = NoteKey::ed25519("witness.example/four", "four").cosign(&text, 1);
    cosigned(&[lines[1].clone(), stranger]);
    assert_eq!(ask("1").0, 0);
    assert_eq!(ask("4").0, 2, "more than there are");
}
