//! What is not in the log is counted, all of it and once, and so are those who were turned away.

use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use serde_json::{Value, json};

use crate::audit::faults::Step;
use crate::audit::recording::hash_key;
use crate::audit::testing::Place;
use crate::audit::*;
use crate::policy::{CallerKind, Identity, Transport};

const BOTH: [OnFailure; 2] = [OnFailure::Refuse, OnFailure::Continue];

async fn audit_in(place: &Place, on_failure: OnFailure) -> Audit {
    let (log, _) = place.open().await;
    Audit::new(log, hash_key(), on_failure, Arc::clone(&place.clock) as _)
}

fn attempt(audit: &Audit, request: &str) -> Attempt {
    let identity = Identity::new("billing".parse().unwrap(), CallerKind::Token, Vec::new());
    let caller = Caller { identity: identity.into(), transport: Transport::Tcp, mfa: false };
    audit.attempt(caller, "encrypt", request)
}

/// Closes the log, and gives its entries between the first and the last.
async fn closed(place: &Place, audit: &Audit) -> Vec<Value> {
    audit.log().close(b"close".to_vec()).await.unwrap();
    let texts = place.audit().remove(0).texts();
    let said = &texts[1..texts.len() - 1];
    said.iter().map(|entry| serde_json::from_str(entry).unwrap()).collect()
}

/// The detail of each entry of this operation.
fn details(entries: &[Value], operation: &str) -> Vec<Value> {
    let those = entries.iter().filter(|entry| entry["operation"] == operation);
    those.map(|entry| entry["detail"].clone()).collect()
}

#[tokio::test]
async fn every_entry_that_is_not_in_the_log_is_counted_once() {
    for on_failure in BOTH {
        let place = Place::new();
        let audit = audit_in(&place, on_failure).await;
        place.disk.faults.fail(Step::Write, Errno::NOSPC);
        // Its client has gone away before anything came of it, and while its entry was on its way.
        drop(attempt(&audit, "gone"));
        let mut gone_later = attempt(&audit, "gone later");
        drop(gone_later.succeed());
        drop(gone_later);
        // Its client is told: with `refuse` by the lack of an answer, which has an entry that nobody waits for.
        let mut told = attempt(&audit, "told");
        let goes_on = told.succeed().await.is_ok();
        assert_eq!(goes_on, on_failure == OnFailure::Continue);
        let mut lost = 3;
        if !goes_on {
            drop(told.fail("audit_unavailable"));
            lost += 1;
        }
        let denied = attempt(&audit, "denied").fail("forbidden").await;
        assert_eq!(denied.is_ok(), goes_on);
        let ended = audit.record_what_was("emergency_end", Outcome::Ok, json!({})).await;
        assert_eq!(ended.is_ok(), goes_on);
        lost += 2;
        // This one is tried again by who sends it, unless they go on without.
        let policies = audit.record("policies", Outcome::Ok, json!({})).await;
        lost += u64::from(policies.is_ok());
        assert!(audit.record_counts().await.is_err());
        assert_eq!(audit.log().status().lost, lost);
        place.disk.faults.heal();

        audit.record_counts().await.unwrap();
        audit.record_counts().await.unwrap();
        attempt(&audit, "after").succeed().await.unwrap();
        let entries = closed(&place, &audit).await;
        assert_eq!(entries.len(), 2, "{entries:?}");
        let gap = json!({ "entries": lost, "on_failure": on_failure });
        assert_eq!(details(&entries, "gap"), [gap]);
    }
}

#[tokio::test]
async fn an_entry_that_comes_late_is_in_the_log_and_is_not_counted() {
    for on_failure in BOTH {
        let mut place = Place::new();
        place.settings.commit_timeout = Duration::from_millis(20);
        let audit = audit_in(&place, on_failure).await;
        place.disk.faults.hang(Step::Flush);
        let late = attempt(&audit, "late").succeed().await;
        let refused = on_failure == OnFailure::Refuse;
        assert_eq!(late.err(), refused.then_some(AppendError::TooSlow));
        place.disk.faults.heal();
        audit.log().append(b"{}".to_vec()).await.unwrap();
        audit.record_counts().await.unwrap();
        let entries = closed(&place, &audit).await;
        assert_eq!((entries.len(), &entries[0]["request"]), (2, &json!("late")), "{entries:?}");
    }
}

#[tokio::test]
async fn what_the_queue_has_no_room_for_is_counted() {
    let mut place = Place::new();
    place.settings.queue_max = 1;
    let audit = audit_in(&place, OnFailure::Refuse).await;
    place.disk.faults.hang(Step::Flush);
    drop(attempt(&audit, "on the disk's way"));
    place.disk.faults.wait_until_it_hangs();
    for request in ["waits", "no room", "no room either"] {
        drop(attempt(&audit, request));
    }
    place.disk.faults.heal();
    while audit.log().status().size < 3 {
        tokio::task::yield_now().await;
    }
    audit.record_counts().await.unwrap();
    let entries = closed(&place, &audit).await;
    assert_eq!(entries.len(), 3, "{entries:?}");
    assert_eq!(details(&entries, "gap")[0]["entries"], 2);
}

/// What was appended before has its verdict: a machine that is busy may be too slow for another entry, too.
async fn until_all_is_written(audit: &Audit) {
    while audit.log().append(b"{}".to_vec()).await == Err(AppendError::TooSlow) {}
}

#[tokio::test]
async fn a_count_that_a_disk_takes_late_is_in_the_log_once() {
    let mut place = Place::new();
    place.settings.commit_timeout = Duration::from_millis(20);
    let audit = audit_in(&place, OnFailure::Refuse).await;
    place.disk.faults.fail(Step::Write, Errno::NOSPC);
    attempt(&audit, "lost").succeed().await.unwrap_err();
    audit.refused("unauthenticated", "uid 7");
    place.disk.faults.heal();

    place.disk.faults.hang(Step::Flush);
    for _ in 0..3 {
        assert_eq!(audit.record_counts().await, Err(AppendError::TooSlow));
    }
    place.disk.faults.heal();
    // The refusals are still to come, and whoever sends them is gone before it is known whether they are in.
    until_all_is_written(&audit).await;
    place.disk.faults.hang(Step::Flush);
    assert_eq!(audit.record_counts().await, Err(AppendError::TooSlow));
    audit.refused("unauthenticated", "uid 7");
    place.disk.faults.heal();
    until_all_is_written(&audit).await;
    while audit.record_counts().await == Err(AppendError::TooSlow) {}

    let entries = closed(&place, &audit).await;
    let gaps = details(&entries, "gap");
    assert_eq!((gaps.len(), &gaps[0]["entries"]), (1, &json!(1)));
    let counted = json!({ "unauthenticated": { "uid 7": 1 } });
    assert_eq!(details(&entries, "refused"), [counted.clone(), counted]);
}

#[tokio::test]
async fn a_crowd_with_the_longest_names_is_recorded_and_nobody_is_lost() {
    for fails_first in [false, true] {
        let place = Place::new();
        let audit = audit_in(&place, OnFailure::Refuse).await;
        let crowd: Vec<_> = (0..300).map(|number| format!("{number:~>512}")).collect();
        crowd.iter().for_each(|name| audit.refused("rate_limited", name));
        if fails_first {
            place.disk.faults.fail(Step::Write, Errno::NOSPC);
            audit.record_counts().await.unwrap_err();
            audit.refused("rate_limited", &crowd[0]);
            place.disk.faults.heal();
            audit.record_counts().await.unwrap();
        }
        audit.record_counts().await.unwrap();
        let entries = closed(&place, &audit).await;
        let counts = details(&entries, "refused");
        assert!(counts.len() > 1, "too much for one entry");
        let counts = counts.iter().flat_map(|detail| detail["rate_limited"].as_object().unwrap());
        let count: u64 = counts.map(|(_, count)| count.as_u64().unwrap()).sum();
        assert_eq!(count, 300 + u64::from(fails_first));
    }
}
