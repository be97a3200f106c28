//! What an attempt leaves in the log, whatever becomes of it.

use serde_json::json;

use super::*;
use crate::audit::recording::Recorded;
use crate::clock::{Clock as _, SystemClock};
use crate::policy::{
    AccessRequest, Action, CallerKind, Grant, Identity, KeyPattern, Policies, Resource, Transport,
    decide,
};

fn caller() -> Caller {
    let identity = Identity::new("billing".parse().unwrap(), CallerKind::Token, Vec::new());
    Caller { identity: identity.into(), transport: Transport::Tcp, mfa: false }
}

fn context() -> Context {
    let pairs = [("subject", "erika-mustermann"), ("purpose", "payment")];
    Context::new(pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))).unwrap()
}

fn key() -> KeyName {
    "patients".parse().unwrap()
}

#[tokio::test]
async fn a_success_has_one_entry_with_all_that_is_known_and_nothing_personal() {
    let log = Recorded::start().await;
    let grant = Grant {
        caller: "billing".parse().unwrap(),
        actions: vec![Action::Decrypt],
        keys: vec![KeyPattern::parse("*").unwrap()],
    };
    let policies = Policies::load(&[], &[], &[grant]).unwrap();
    let (caller, context, key) = (caller(), context(), key());
    let request = AccessRequest {
        caller: &caller,
        action: Action::Decrypt,
        resource: Resource::Key(&key),
        context: Some(&context),
        approved: false,
        emergency: false,
        now: SystemClock.now().wall,
    };
    let permit = decide(&policies, &request).unwrap();
    let mut attempt = log.audit.attempt(caller.clone(), "decrypt", "r-1");
    attempt.about_message(120, &context);
    attempt.about_key(&key);
    attempt.about_version(KeyVersion::FIRST);
    attempt.about_ciphertext(&[7; 200]);
    attempt.permitted(&permit);
    let receipt = attempt.succeed().await.unwrap();
    drop(attempt);

    let entries = log.entries();
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!(receipt.place().unwrap().1, 1, "after the first entry of the log");
    assert_eq!(entry["operation"], "decrypt");
    assert_eq!(entry["outcome"], "ok");
    assert_eq!(entry["request"], "r-1");
    assert_eq!((&entry["caller"], &entry["proof"]), (&json!("billing"), &json!("token")));
    assert_eq!((&entry["key"], &entry["version"]), (&json!("patients"), &json!(1)));
    assert_eq!(entry["bytes"], 120);
    assert_eq!(entry["policies"], json!(["callers.0.keys"]));
    assert_eq!(entry["policy_set"], policies.hash_text()[..16]);
    assert_eq!(entry["ciphertext"].as_str().unwrap().len(), 11);
    assert!(entry["subject"].as_str().unwrap().starts_with("1:"));
    assert!(entry.get("code").is_none() && entry.get("mfa").is_none());
    let text = entry.to_string();
    assert!(!text.contains("erika") && !text.contains("payment"), "{text}");
}

#[tokio::test]
async fn a_failure_has_its_code_and_a_denial_is_told_from_it() {
    let log = Recorded::start().await;
    log.audit.attempt(caller(), "decrypt", "a").fail("decryption_failed").await.unwrap();
    log.audit.attempt(caller(), "decrypt", "b").fail("forbidden").await.unwrap();
    let said: Vec<_> = log.entries().iter().map(|entry| entry["outcome"].clone()).collect();
    assert_eq!(said, ["failed", "denied"]);
    assert_eq!(log.entries()[0]["code"], "decryption_failed");
}

#[tokio::test]
async fn an_attempt_that_is_dropped_is_recorded_as_cancelled() {
    let log = Recorded::start().await;
    let mut attempt = log.audit.attempt(caller(), "encrypt", "gone");
    attempt.about_key(&key());
    drop(attempt);
    let entries = log.entries_of(1).await;
    assert_eq!(
        (&entries[0]["outcome"], &entries[0]["key"]),
        (&json!("cancelled"), &json!("patients"))
    );
}

#[tokio::test]
async fn an_attempt_in_the_middle_of_a_panic_is_recorded_as_a_defect() {
    let log = Recorded::start().await;
    let attempt = log.audit.attempt(caller(), "encrypt", "p");
    let panicked = tokio::spawn(async move {
        let _attempt = attempt;
        panic!("on purpose");
    });
    assert!(panicked.await.is_err());
    let entries = log.entries_of(1).await;
    assert_eq!(
        (&entries[0]["outcome"], &entries[0]["code"]),
        (&json!("failed"), &json!("internal"))
    );
}

#[tokio::test]
async fn a_success_nobody_waits_for_is_recorded_once() {
    let log = Recorded::start().await;
    let mut attempt = log.audit.attempt(caller(), "encrypt", "once");
    drop(attempt.succeed());
    drop(attempt);
    log.audit.record("mark", Outcome::Ok, json!({})).await.unwrap();
    let said: Vec<_> = log.entries().iter().map(|entry| entry["operation"].clone()).collect();
    assert_eq!(said, ["encrypt", "mark"]);
}

#[tokio::test]
async fn what_begins_is_said_again_when_it_ends() {
    let log = Recorded::start().await;
    let mut attempt = log.audit.attempt(caller(), "rotate", "r");
    attempt.about_key(&key());
    attempt.detail("why", "yearly");
    attempt.begin().await.unwrap();
    let mut rest = attempt.hand_over();
    drop(attempt);
    rest.about_version(KeyVersion::FIRST);
    rest.succeed().await.unwrap();
    let entries = log.entries();
    assert_eq!((&entries[0]["outcome"], &entries[1]["outcome"]), (&json!("begun"), &json!("ok")));
    for entry in &entries {
        assert_eq!(
            (&entry["key"], &entry["detail"]["why"]),
            (&json!("patients"), &json!("yearly"))
        );
    }
    assert!(entries[0].get("version").is_none() && entries[1]["version"] == 1);
}

#[tokio::test]
async fn a_batch_has_one_entry_with_counts_and_each_item_in_order() {
    let log = Recorded::start().await;
    let mut attempt = log.audit.attempt(caller(), "decrypt_batch", "b");
    for (index, code) in [None, Some("decryption_failed"), None].into_iter().enumerate() {
        attempt.on_item(index);
        attempt.about_key(&key());
        attempt.about_message(index, &context());
        attempt.item_came_to(code);
    }
    attempt.succeed().await.unwrap();
    let entries = log.entries();
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!(entry["counts"], json!({"ok": 2, "failed": 1}));
    assert_eq!(entry["key"], "patients", "what is the same in each is said once");
    let failed = json!({"outcome": "failed", "code": "decryption_failed", "bytes": 1});
    assert_eq!(entry["items"], json!([{"bytes": 0}, failed, {"bytes": 2}]));
}

#[tokio::test]
async fn a_batch_too_long_for_one_entry_has_several_and_loses_no_item() {
    let log = Recorded::start().await;
    let mut attempt = log.audit.attempt(caller(), "decrypt_batch", "long");
    for index in 0..16_384 {
        attempt.on_item(index);
        attempt.about_bytes(index);
        attempt.item_came_to(Some("decryption_failed"));
    }
    attempt.succeed().await.unwrap();
    let entries = log.entries();
    assert!(entries.len() > 1);
    let parts: Vec<_> = entries.iter().map(|entry| entry["part"][0].as_u64().unwrap()).collect();
    assert_eq!(parts, (1..=entries.len() as u64).collect::<Vec<_>>());
    let items = entries.iter().flat_map(|entry| entry["items"].as_array().unwrap());
    let bytes: Vec<_> = items.map(|item| item["bytes"].as_u64().unwrap()).collect();
    assert_eq!(bytes, (0..16_384).collect::<Vec<_>>());
    assert_eq!(entries[0]["counts"]["failed"], 16_384);
}

#[tokio::test]
async fn an_entry_is_one_line_whatever_a_name_holds() {
    let log = Recorded::start().await;
    let mut attempt = log.audit.attempt(caller(), "emergency", "x");
    attempt.detail("reason", "a\nb\u{7f}\u{0}\u{1b}[2J\u{2028}\"}");
    attempt.succeed().await.unwrap();
    let raw = log.raw_entries();
    assert!(raw.iter().all(|entry| !entry.iter().any(|byte| *byte < 0x20)), "{raw:?}");
    assert_eq!(log.entries()[0]["detail"]["reason"], "a\nb\u{7f}\u{0}\u{1b}[2J\u{2028}\"}");
}

#[tokio::test]
async fn what_there_was_no_answer_for_says_what_it_was_about() {
    let log = Recorded::start().await;
    let mut attempt = log.audit.attempt(caller(), "encrypt", "r");
    attempt.about_key(&key());
    attempt.about_message(7, &context());
    attempt.about_version(KeyVersion::FIRST);
    attempt.about_ciphertext(&[7; 200]);
    attempt.detail("why", "yearly");
    // As when the log was too slow for the first: it is there, and its caller was told that there is no answer.
    drop(attempt.succeed());
    drop(attempt.fail("audit_unavailable"));
    drop(attempt);
    let mut entries = log.entries_of(2).await;
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1]["code"], "audit_unavailable");
    assert_eq!((&entries[0]["outcome"], &entries[1]["outcome"]), (&json!("ok"), &json!("failed")));
    for entry in &mut entries {
        let entry = entry.as_object_mut().unwrap();
        let _ = ["time", "outcome", "code"].map(|name| entry.remove(name));
        for name in ["key", "version", "bytes", "subject", "context", "ciphertext", "detail"] {
            assert!(entry.contains_key(name), "{name}");
        }
    }
    assert_eq!(entries[0], entries[1]);
}

#[tokio::test]
async fn a_batch_that_there_was_no_answer_for_says_what_each_item_was_about() {
    let log = Recorded::start().await;
    let mut attempt = log.audit.attempt(caller(), "decrypt_batch", "b");
    for (index, code) in [None, Some("decryption_failed")].into_iter().enumerate() {
        attempt.on_item(index);
        attempt.about_key(&key());
        attempt.about_message(index, &context());
        attempt.item_came_to(code);
    }
    drop(attempt.succeed());
    drop(attempt.fail("audit_unavailable"));
    let entries = log.entries_of(2).await;
    for name in ["key", "subject", "context", "counts"] {
        assert_eq!((&entries[1][name], entries[0].get(name).is_some()), (&entries[0][name], true));
    }
    // An item has its outcome where that is not the whole's.
    assert_eq!(entries[1]["items"][0], json!({ "outcome": "ok", "bytes": 0 }));
    assert_eq!(entries[1]["items"][1], json!({ "code": "decryption_failed", "bytes": 1 }));
    assert_eq!(entries[0]["items"][1]["code"], "decryption_failed");
}
