//! What the keyring changes by itself is on record, or is not done.

use serde_json::{Value, json};

use super::*;
use crate::audit::recording::Recorded;

/// Operation, outcome, key, version and cause of each entry.
fn said(recorded: &Recorded) -> Vec<Value> {
    let said = |entry: Value| {
        assert_eq!((&entry["caller"], &entry["request"]), (&Value::Null, &Value::Null));
        let cause = &entry["detail"]["cause"];
        json!([entry["operation"], entry["outcome"], entry["key"], entry["version"], cause])
    };
    recorded.entries().into_iter().map(said).collect()
}

#[tokio::test]
async fn what_a_period_a_limit_or_a_delay_does_has_an_entry_before_and_one_after() {
    let (world, recorded) = (World::new().await, Recorded::start().await);
    world.keyring.record_in(recorded.audit.clone());
    let limited = NewKey { messages_max: Some(1), ..NewKey::default() };
    world.key_with("limited", limited).await;
    let periodic = NewKey { rotation_period_s: Some(3600), ..NewKey::default() };
    world.key_with("periodic", periodic).await;
    world.key("doomed").await;
    for _ in 0..2 {
        world.seal("limited").await.unwrap();
    }
    world.pass(HOUR).await;
    let permit = permit(Action::Destroy, "doomed");
    world.keyring.destroy(&permit, KeyVersion::FIRST, world.now()).await.unwrap();
    assert_eq!(said(&recorded).len(), 4, "who asked has it recorded");
    world.pass(7 * 24 * HOUR).await;
    let entries = said(&recorded);
    for (operation, key, version, cause) in [
        ("rotate", "limited", 2, "usage_limit"),
        ("rotate", "periodic", 2, "period"),
        ("rotate", "periodic", 3, "period"),
        ("destroy", "doomed", 1, "destroy_delay"),
    ] {
        let place = |outcome| {
            let is_it = |entry: &Value| *entry == json!([operation, outcome, key, version, cause]);
            entries.iter().position(is_it).unwrap_or_else(|| panic!("{key} {outcome}: {entries:?}"))
        };
        assert!(place("begun") < place("ok"), "{entries:?}");
    }
    assert_eq!(entries.len(), 8, "{entries:?}");
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_begun_and_what_fails_is_said() {
    let (world, recorded) = (World::new().await, Recorded::start().await);
    world.keyring.record_in(recorded.audit.clone());
    let new = NewKey { messages_max: Some(1), ..NewKey::default() };
    let key = world.key_with("a", new).await;
    world.seal("a").await.unwrap();
    world.root.set(Mood::Unavailable);
    assert!(world.seal("a").await.is_err());
    world.root.set(Mood::Works);
    let entries = recorded.entries();
    assert_eq!(entries[1]["outcome"], "failed", "{entries:?}");
    assert!(entries[1]["detail"]["error"].is_string(), "{entries:?}");
    recorded.audit.log().close(b"{}".to_vec()).await.unwrap();
    let refused = world.seal("a").await;
    assert!(matches!(refused, Err(KeyringError::NotRecorded(_))), "{refused:?}");
    world.pass(HOUR).await;
    let stored = world.store.inner.key_by_id(key.id).await.unwrap().unwrap();
    assert_eq!(stored.primary, KeyVersion::FIRST);
}
