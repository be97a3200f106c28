//! What every store must do: one suite, run over each of them.
//!
//! A store's own test module calls [`every_store_keeps_the_contract`] with a function that opens a store at a
//! named place; the same name opens the same data again, after `close`. Each check has a place of its own.

use std::sync::Arc;

use super::*;
use crate::names::RootName;

/// Runs every check. The runtime must have several threads: the checks of concurrency mean it.
pub(crate) async fn every_store_keeps_the_contract<Open>(open: Open)
where
    Open: AsyncFn(&'static str) -> Arc<dyn KeyStore>,
{
    macro_rules! run {
        ($($module:ident::$check:ident),* $(,)?) => {$(
            // Shown by the harness when a check fails: which one it was.
            println!("{}", stringify!($check));
            $module::$check(&open).await;
        )*};
    }
    run!(
        keys::every_field_comes_back_as_it_was_stored,
        keys::a_missing_key_is_none_and_changes_to_it_are_missing,
        keys::keys_are_listed_by_name,
        keys::a_name_or_id_is_taken_once,
        keys::rows_that_break_a_rule_are_invalid_and_leave_no_trace,
        versions::a_version_is_added_after_the_expected_primary_only,
        versions::of_many_that_add_a_version_at_once_exactly_one_does,
        versions::each_change_sets_what_it_says_and_raises_the_revision,
        versions::a_change_against_an_old_revision_is_a_conflict,
        versions::of_many_that_change_a_version_at_once_exactly_one_does,
        versions::a_destroyed_version_has_no_wrappings_and_stays_destroyed,
        usage::usage_is_granted_per_counter_up_to_the_limit,
        usage::many_that_reserve_at_once_get_the_limit_together_and_no_more,
        usage::returned_usage_can_be_reserved_again_and_never_falls_below_zero,
        usage::usage_moves_no_revision,
        approvals::one_approval_waits_for_a_version_until_it_expires,
        approvals::approvals_are_listed_oldest_first_and_unexpired,
        approvals::an_approval_is_taken_once,
        life::everything_is_there_after_a_reopening,
        life::a_store_that_answers_passes_its_check,
        life::a_closed_store_is_unavailable,
    );
}

/// The key `name` with one enabled version; its id is made of `seed`.
pub(crate) fn sample_key(name: &str, seed: u8) -> KeyRecord {
    KeyRecord {
        id: KeyId::from_bytes([seed; 8]),
        name: name.parse().unwrap(),
        created_at: UnixSeconds(1_700_000_000),
        settings: KeySettings {
            rotation_period_s: Some(7_776_000),
            messages_max: 1 << 32,
            bytes_max: 1 << 50,
        },
        primary: KeyVersion::FIRST,
        versions: vec![sample_version(1, seed)],
    }
}

/// Version `number`, enabled, wrapped under two roots.
pub(crate) fn sample_version(number: u32, seed: u8) -> VersionRecord {
    VersionRecord {
        version: KeyVersion::new(number).unwrap(),
        state: VersionState::Enabled,
        created_at: UnixSeconds(1_700_000_000 + u64::from(number)),
        destroy_at: None,
        wrappings: vec![sample_wrapping("vault/b", seed), sample_wrapping("local", !seed)],
        messages_used: 0,
        bytes_used: 0,
        revision: 0,
    }
}

pub(crate) fn sample_wrapping(root: &str, seed: u8) -> Wrapping {
    let root: RootName = root.parse().unwrap();
    Wrapping { root, wrapped: WrappedKey::from_bytes(vec![seed; 61]) }
}

/// The first version of [`sample_key`].
pub(crate) fn first(key: &KeyRecord) -> KeyRef {
    KeyRef { id: key.id, version: KeyVersion::FIRST }
}

async fn stored_version(store: &Arc<dyn KeyStore>, key: KeyRef) -> VersionRecord {
    let record = store.key_by_id(key.id).await.unwrap().unwrap();
    record.version(key.version).unwrap().clone()
}

/// Runs `tasks` of them at once and returns what each of them returned.
async fn at_once<T, F>(tasks: u8, task: impl Fn(u8) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = (0..tasks).map(|number| tokio::spawn(task(number))).collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

/// Which task succeeded first in the list.
fn position_of_winner(results: &[Result<(), StoreError>]) -> u8 {
    (0..).zip(results).find(|(_, result)| result.is_ok()).unwrap().0
}

mod keys {
    use super::*;

    pub(super) async fn every_field_comes_back_as_it_was_stored(
        open: &impl AsyncFn(&'static str) -> Arc<dyn KeyStore>,
    ) {
        let store = open("fields").await;
        let mut key = sample_key("patients.v2_x", 0xa5);
        key.settings.messages_max = i64::MAX as u64;
        key.versions.first_mut().unwrap().state = VersionState::DecryptOnly;
        key.versions.push(VersionRecord {
            state: VersionState::Destroyed,
            wrappings: Vec::new(),
            ..sample_version(2, 1)
        });
        key.versions.push(VersionRecord {
            state: VersionState::Disabled,
            destroy_at: Some(UnixSeconds(i64::MAX as u64)),
            messages_used: 7,
            bytes_used: i64::MAX as u64,
            revision: 9,
            ..sample_version(u32::MAX, 2)
        });
        key.primary = KeyVersion::new(u32::MAX).unwrap();
        store.insert_key(&key).await.unwrap();
        assert_eq!(store.key_by_name(&key.name).await.unwrap().as_ref(), Some(&key));
        assert_eq!(store.key_by_id(key.id).await.unwrap().as_ref(), Some(&key));

        let mut plain = sample_key("0", 0);
        plain.settings.rotation_period_s = None;
        plain.versions.first_mut().unwrap().wrappings = vec![sample_wrapping("local", 3)];
        store.insert_key(&plain).await.unwrap();
        assert_eq!(store.list_keys().await.unwrap(), [plain, key]);
        assert_eq!(store.damaged_keys().await.unwrap(), Vec::<String>::new());
    }

    pub(super) async fn a_missing_key_is_none_and_changes_to_it_are_missing(
        open: &impl AsyncFn(&'static str) -> Arc<dyn KeyStore>,
    ) {
        let store = open("missing").await;
        let key = sample_key("absent", 1);
        assert_eq!(store.list_keys().await.unwrap(), []);
        assert_eq!(store.key_by_name(&key.name).await.unwrap(), None);
        assert_eq!(store.key_by_id(key.id).await.unwrap(), None);
        assert_eq!(store.take_approval(&"0".repeat(32)).await.unwrap(), None);

        let state = VersionChange::State(VersionState::Disabled);
        let one = Usage { messages: 1, bytes: 1 };
        let approval = approvals::sample_approval(1, first(&key));
        for _ in 0..2 {
            let added =
                store.insert_version(key.id, KeyVersion::FIRST, &sample_version(2, 1)).await;
            assert!(matches!(added, Err(StoreError::Missing)), "{added:?}");
            // The second time round the key is there and the version is not.
            let absent = KeyRef { id: key.id, version: KeyVersion::new(9).unwrap() };
            let updated = store.update_version(absent, 0, &state).await;
            assert!(matches!(updated, Err(StoreError::Missing)), "{updated:?}");
            let reserved = store.reserve_usage(absent, one, one).await;
            assert!(matches!(reserved, Err(StoreError::Missing)), "{reserved:?}");
            let returned = store.return_usage(absent, one).await;
            assert!(matches!(returned, Err(StoreError::Missing)), "{returned:?}");
            let waiting = Approval { key: absent, ..approval.clone() };
            let noted = store.insert_approval(&waiting, UnixSeconds(0)).await;
            assert!(matches!(noted, Err(StoreError::Missing)), "{noted:?}");
            if store.key_by_id(KeyId::from_bytes([2; 8])).await.unwrap().is_none() {
                store.insert_key(&sample_key("present", 2)).await.unwrap();
            }
        }
    }

    pub(super) async fn keys_are_listed_by_name(
        open: &impl AsyncFn(&'static str) -> Arc<dyn KeyStore>,
    ) {
        let store = open("listed").await;
        let names = ["b", "a-b", "a.b", "a_b", "10", "9", "ab", "a", "z"];
        for (seed, name) in (0..).zip(names) {
            store.insert_key(&sample_key(name, seed)).await.unwrap();
        }
        let listed = store.list_keys().await.unwrap();
        let mut expected: Vec<KeyName> = names.iter().map(|name| name.parse().unwrap()).collect();
        expected.sort();
        assert_eq!(listed.into_iter().map(|key| key.name).collect::<Vec<_>>(), expected);
    }

    pub(super) async fn a_name_or_id_is_taken_once(
        open: &impl AsyncFn(&'static str) -> Arc<dyn KeyStore>,
    ) {
        let store = open("taken").await;
        let key = sample_key("first", 1);
        store.insert_key(&key).await.unwrap();
        for taken in [sample_key("first", 2), sample_key("second", 1)] {
            let again = store.insert_key(&taken).await;
            assert!(matches!(again, Err(StoreError::Exists)), "{again:?}");
        }
        assert_eq!(store.list_keys().await.unwrap(), [key]);

        let results = at_once(8, |number| {
            let (store, key) = (Arc::clone(&store), sample_key("raced", 10 + number));
            async move { store.insert_key(&key).await }
        });
        let results = results.await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
        assert_eq!(store.list_keys().await.unwrap().len(), 2);
    }

    pub(super) async fn rows_that_break_a_rule_are_invalid_and_leave_no_trace(
        open: &impl AsyncFn(&'static str) -> Arc<dyn KeyStore>,
    ) {
        let store = open("invalid").await;
        let broken: [fn(&mut KeyRecord); 11] = [
            |key| key.versions.clear(),
            |key| key.primary = KeyVersion::new(2).unwrap(),
            |key| key.versions.insert(0, sample_version(2, 1)),
            |key| key.created_at = UnixSeconds(u64::MAX),
            |key| key.settings.messages_max = 1 << 63,
            |key| key.settings.rotation_period_s = Some(1 << 63),
            |key| key.versions[0].bytes_used = 1 << 63,
            |key| key.versions[0].wrappings.clear(),
            |key| key.versions[0].state = VersionState::Destroyed,
            |key| key.versions[0].wrappings.push(sample_wrapping("local", 1)),
            |key| key.versions[0].wrappings[0].wrapped = WrappedKey::from_bytes(Vec::new()),
        ];
        for (number, breaks) in broken.iter().enumerate() {
            let mut key = sample_key("broken", 1);
            breaks(&mut key);
            let stored = store.insert_key(&key).await;
            assert!(matches!(stored, Err(StoreError::Invalid { .. })), "{number}: {stored:?}");
        }
        assert_eq!(store.list_keys().await.unwrap(), []);
    }
}

mod versions {
    use super::*;

    pub(super) async fn a_version_is_added_after_the_expected_primary_only(
        open: &impl AsyncFn(&'static str) -> Arc<dyn KeyStore>,
    ) {
        let store = open("added").await;
        let mut key = sample_key("rotating", 1);
        store.insert_key(&key).await.unwrap();
        let (one, two) = (KeyVersion::FIRST, KeyVersion::new(2).unwrap());

        let skipped = store.insert_version(key.id, one, &sample_version(3, 3)).await;
        assert!(matches!(skipped, Err(StoreError::Invalid { .. })), "{skipped:?}");
        let early = store.insert_version(key.id, two, &sample_version(3, 3)).await;
        assert!(matches!(early, Err(StoreError::Conflict)), "{early:?}");
        store.insert_version(key.id, one, &sample_version(2, 2)).await.unwrap();
        let late = store.insert_version(key.id, one, &sample_version(2, 9)).await;
        assert!(matches!(late, Err(StoreError::Conflict)), "{late:?}");
        let mut unwrapped = sample_version(3, 3);
        unwrapped.wrappings.clear();
        let invalid = store.insert_version(key.id, two, &unwrapped).await;
        assert!(matches!(invalid, Err(StoreError::Invalid { .. })), "{invalid:?}");

        key.versions.push(sample_version(2, 2));
        key.primary = two;
        assert_eq!(store.key_by_name(&key.name).await.unwrap(), Some(key));
    }

    pub(super) async fn of_many_that_add_a_version_at_once_exactly_one_does(
        open: &impl AsyncFn(&'static str) -> Arc<dyn KeyStore>,
    ) {
        let store = open("versions-at-once").await;
        let key = sample_key("contended", 1);
        store.insert_key(&key).await.unwrap();
        for round in 1..=5 {
            let expected = KeyVersion::new(round).unwrap();
            let results = at_once(16, |number| {
                let (store, id) = (Arc::clone(&store), key.id);
                let version = sample_version(round + 1, number);
                async move { store.insert_version(id, expected, &version).await }
            });
            let results = results.await;
            let winner = position_of_winner(&results);
            for (number, result) in (0..).zip(&results).filter(|(number, _)| *number != winner) {
                assert!(matches!(result, Err(StoreError::Conflict)), "{number}: {result:?}");
            }
            let stored = store.key_by_id(key.id).await.unwrap().unwrap();
            assert_eq!(stored.primary.number(), round + 1);
            assert_eq!(stored.versions.last(), Some(&sample_version(round + 1, winner)));
            assert_eq!(stored.versions.len(), expected.number() as usize + 1);
        }
    }

    pub(super) async fn each_change_sets_what_it_says_and_raises_the_revision(
        open: &impl AsyncFn(&'static str) -> Arc<dyn KeyStore>,
    ) {
        let store = open("changes").await;
        let key = sample_key("changing", 1);
        store.insert_key(&key).await.unwrap();
        store.insert_key(&sample_key("bystander", 2)).await.unwrap();
        store.insert_version(key.id, KeyVersion::FIRST, &sample_version(2, 2)).await.unwrap();
        let mut expected = sample_version(1, 1);
        let at = UnixSeconds(1_800_000_000);
        let rewrapped = vec![sample_wrapping("new", 5), sample_wrapping("local", 6)];
        type Effect = fn(&mut VersionRecord);
        let changes: [(VersionChange, Effect); 9] = [
            (VersionChange::State(VersionState::DecryptOnly), |v| {
                v.state = VersionState::DecryptOnly
            }),
            (VersionChange::State(VersionState::Disabled), |v| v.state = VersionState::Disabled),
            (VersionChange::State(VersionState::Enabled), |v| v.state = VersionState::Enabled),
            (VersionChange::ScheduleDestroy(at), |v| {
                v.state = VersionState::Disabled;
                v.destroy_at = Some(UnixSeconds(1_800_000_000));
            }),
            (VersionChange::State(VersionState::DecryptOnly), |v| {
                v.state = VersionState::DecryptOnly
            }),
            (VersionChange::ScheduleDestroy(at), |v| v.state = VersionState::Disabled),
            (VersionChange::CancelDestroy, |v| v.destroy_at = None),
            (VersionChange::Wrappings(rewrapped), |v| {
                v.wrappings = vec![sample_wrapping("new", 5), sample_wrapping("local", 6)];
            }),
            (VersionChange::Destroy, |v| {
                v.state = VersionState::Destroyed;
                v.wrappings.clear();
            }),
        ];
        for (revision, (change, apply)) in (0..).zip(changes) {
            store.update_version(first(&key), revision, &change).await.unwrap();
            apply(&mut expected);
            expected.revision = revision + 1;
            assert_eq!(stored_version(&store, first(&key)).await, expected, "{change:?}");
        }
        let stored = store.key_by_id(key.id).await.unwrap().unwrap();
        assert_eq!(stored.versions.last(), Some(&sample_version(2, 2)));
        let bystander = store.key_by_id(KeyId::from_bytes([2; 8])).await.unwrap();
        assert_eq!(bystander, Some(sample_key("bystander", 2)));
    }

    pub(super) async fn a_change_against_an_old_revision_is_a_conflict(
        open: &impl AsyncFn(&'static str) -> Arc<dyn KeyStore>,
    ) {
        let store = open("revision").await;
        let key = sample_key("revised", 1);
        store.insert_key(&key).await.unwrap();
        let state = VersionChange::State(VersionState::DecryptOnly);
        store.update_version(first(&key), 0, &state).await.unwrap();
        let before = stored_version(&store, first(&key)).await;
        let changes =
            [state, VersionChange::Destroy, VersionChange::ScheduleDestroy(UnixSeconds(1))];
        for revision in [0, 2, u64::MAX] {
            for change in &changes {
                let changed = store.update_version(first(&key), revision, change).await;
                assert!(matches!(changed, Err(StoreError::Conflict)), "{revision}: {changed:?}");
            }
        }
        for change in [
            VersionChange::State(VersionState::Destroyed),
            VersionChange::Wrappings(Vec::new()),
            VersionChange::Wrappings(vec![
                sample_wrapping("local", 1),
                sample_wrapping("local", 2),
            ]),
            VersionChange::ScheduleDestroy(UnixSeconds(u64::MAX)),
        ] {
            let changed = store.update_version(first(&key), 1, &change).await;
            assert!(matches!(changed, Err(StoreError::Invalid { .. })), "{changed:?}");
        }
        assert_eq!(stored_version(&store, first(&key)).await, before);
    }

    pub(super) async fn of_many_that_change_a_version_at_once_exactly_one_does(
        open: &impl AsyncFn(&'static str) -> Arc<dyn KeyStore>,
    ) {
        let store = open("changes-at-once").await;
        let key = sample_key("contended", 1);
        store.insert_key(&key).await.unwrap();
        for revision in 0..5 {
            let results = at_once(16, |number| {
                let (store, key) = (Arc::clone(&store), first(&key));
                let change = VersionChange::Wrappings(vec![sample_wrapping("local", number)]);
                async move { store.update_version(key, revision, &change).await }
            });
            let results = results.await;
            let winner = position_of_winner(&results);
            assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
            let stored = stored_version(&store, first(&key)).await;
            assert_eq!(stored.revision, revision + 1);
            assert_eq!(stored.wrappings, [sample_wrapping("local", winner)]);
        }
    }

    pub(super) async fn a_destroyed_version_has_no_wrappings_and_stays_destroyed(
        open: &impl AsyncFn(&'static str) -> Arc<dyn KeyStore>,
    ) {
        let store = open("destroyed").await;
        let key = sample_key("doomed", 1);
        store.insert_key(&key).await.unwrap();
        let at = UnixSeconds(1_800_000_000);
        store.update_version(first(&key), 0, &VersionChange::ScheduleDestroy(at)).await.unwrap();
        store.update_version(first(&key), 1, &VersionChange::Destroy).await.unwrap();
        let destroyed = stored_version(&store, first(&key)).await;
        assert_eq!(destroyed.state, VersionState::Destroyed);
        assert_eq!((destroyed.wrappings.len(), destroyed.destroy_at), (0, None));
        for revision in 0..=3 {
            for change in [
                VersionChange::State(VersionState::Enabled),
                VersionChange::ScheduleDestroy(at),
                VersionChange::CancelDestroy,
                VersionChange::Destroy,
                VersionChange::Wrappings(vec![sample_wrapping("local", 1)]),
            ] {
                let changed = store.update_version(first(&key), revision, &change).await;
                assert!(matches!(changed, Err(StoreError::Conflict)), "{change:?}: {changed:?}");
            }
        }
        assert_eq!(stored_version(&store, first(&key)).await, destroyed);
    }
}

mod usage {
    use super::*;

    fn usage(messages: u64, bytes: u64) -> Usage {
        Usage { messages, bytes }
    }

    pub(super) async fn usage_is_granted_per_counter_up_to_the_limit(
        open: &impl AsyncFn(&'static str) -> Arc<dyn KeyStore>,
    ) {
        let store = open("usage").await;
        let key = sample_key("used", 1);
        store.insert_key(&key).await.unwrap();
        let limit = usage(100, 1000);
        for (block, granted) in [
            (usage(60, 10), usage(60, 10)),
            (usage(60, 10), usage(40, 10)),
            (usage(60, 10), usage(0, 10)),
            (usage(u64::MAX, u64::MAX), usage(0, 970)),
            (usage(1, 1), usage(0, 0)),
        ] {
            assert_eq!(store.reserve_usage(first(&key), block, limit).await.unwrap(), granted);
        }
        let lowered = store.reserve_usage(first(&key), usage(1, 1), usage(10, 10)).await.unwrap();
        assert_eq!(lowered, usage(0, 0));
        let stored = stored_version(&store, first(&key)).await;
        assert_eq!((stored.messages_used, stored.bytes_used), (100, 1000));

        let most = usage(u64::MAX, u64::MAX);
        let rest = store.reserve_usage(first(&key), most, most).await.unwrap();
        assert_eq!(rest, usage(i64::MAX as u64 - 100, i64::MAX as u64 - 1000));
        assert_eq!(store.reserve_usage(first(&key), most, most).await.unwrap(), usage(0, 0));
    }

    /// Over several blocks and limits: those that divide, those that do not, and those larger than the limit.
    pub(super) async fn many_that_reserve_at_once_get_the_limit_together_and_no_more(
        open: &impl AsyncFn(&'static str) -> Arc<dyn KeyStore>,
    ) {
        let store = open("usage-at-once").await;
        let cases = [(7, 100), (10, 100), (1, 15), (1000, 100), (13, 13), (3, 1_000_000)];
        for (seed, (block, limit)) in (1..).zip(cases) {
            let key = sample_key(&format!("used-{seed}"), seed);
            store.insert_key(&key).await.unwrap();
            let grants = at_once(16, |number| {
                let (store, key) = (Arc::clone(&store), first(&key));
                let block = usage(block, block * u64::from(number));
                async move {
                    let mut granted = usage(0, 0);
                    for _ in 0..3 {
                        let more =
                            store.reserve_usage(key, block, usage(limit, 2 * limit)).await.unwrap();
                        assert!(more.messages <= block.messages && more.bytes <= block.bytes);
                        granted.messages += more.messages;
                        granted.bytes += more.bytes;
                    }
                    granted
                }
            });
            let grants = grants.await;
            let messages: u64 = grants.iter().map(|grant| grant.messages).sum();
            let bytes: u64 = grants.iter().map(|grant| grant.bytes).sum();
            assert_eq!(messages, limit.min(48 * block), "block {block}, limit {limit}");
            assert_eq!(bytes, (2 * limit).min(3 * 120 * block), "block {block}, limit {limit}");
            let stored = stored_version(&store, first(&key)).await;
            assert_eq!((stored.messages_used, stored.bytes_used), (messages, bytes));
        }
    }

    pub(super) async fn returned_usage_can_be_reserved_again_and_never_falls_below_zero(
        open: &impl AsyncFn(&'static str) -> Arc<dyn KeyStore>,
    ) {
        let store = open("returned").await;
        let key = sample_key("used", 1);
        store.insert_key(&key).await.unwrap();
        let limit = usage(10, 10);
        store.reserve_usage(first(&key), limit, limit).await.unwrap();
        store.return_usage(first(&key), usage(4, 1)).await.unwrap();
        assert_eq!(store.reserve_usage(first(&key), limit, limit).await.unwrap(), usage(4, 1));
        store.return_usage(first(&key), usage(u64::MAX, 11)).await.unwrap();
        let stored = stored_version(&store, first(&key)).await;
        assert_eq!((stored.messages_used, stored.bytes_used), (0, 0));
    }

    pub(super) async fn usage_moves_no_revision(
        open: &impl AsyncFn(&'static str) -> Arc<dyn KeyStore>,
    ) {
        let store = open("usage-revision").await;
        let key = sample_key("used", 1);
        store.insert_key(&key).await.unwrap();
        store.reserve_usage(first(&key), usage(5, 5), usage(10, 10)).await.unwrap();
        store.return_usage(first(&key), usage(1, 1)).await.unwrap();
        assert_eq!(stored_version(&store, first(&key)).await.revision, 0);
        let state = VersionChange::State(VersionState::DecryptOnly);
        store.update_version(first(&key), 0, &state).await.unwrap();
        let stored = stored_version(&store, first(&key)).await;
        assert_eq!((stored.messages_used, stored.bytes_used, stored.revision), (4, 4, 1));
    }
}

mod approvals {
    use super::*;

    pub(super) fn sample_approval(number: u8, key: KeyRef) -> Approval {
        Approval {
            id: format!("{number:032x}"),
            key,
            requested_by: "uid:1000/ops@clinic".parse().unwrap(),
            requested_at: UnixSeconds(1000),
            expires_at: UnixSeconds(2000),
        }
    }

    pub(super) async fn one_approval_waits_for_a_version_until_it_expires(
        open: &impl AsyncFn(&'static str) -> Arc<dyn KeyStore>,
    ) {
        let store = open("approval").await;
        let (key, other) = (sample_key("doomed", 1), sample_key("other", 2));
        store.insert_key(&key).await.unwrap();
        store.insert_key(&other).await.unwrap();
        let waiting = sample_approval(1, first(&key));
        store.insert_approval(&waiting, UnixSeconds(1000)).await.unwrap();

        let second = sample_approval(2, first(&key));
        let refused = store.insert_approval(&second, UnixSeconds(1999)).await;
        assert!(matches!(refused, Err(StoreError::Exists)), "{refused:?}");
        let same_id = Approval { key: first(&other), ..waiting.clone() };
        let refused = store.insert_approval(&same_id, UnixSeconds(1000)).await;
        assert!(matches!(refused, Err(StoreError::Exists)), "{refused:?}");
        for id in ["", "1", &"G".repeat(32), &"0".repeat(33)] {
            let bad = Approval { id: id.to_owned(), ..second.clone() };
            let refused = store.insert_approval(&bad, UnixSeconds(2000)).await;
            assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
        }
        assert_eq!(store.list_approvals(UnixSeconds(1999)).await.unwrap(), [waiting]);

        store.insert_approval(&second, UnixSeconds(2000)).await.unwrap();
        assert_eq!(store.list_approvals(UnixSeconds(0)).await.unwrap(), [second]);
    }

    pub(super) async fn approvals_are_listed_oldest_first_and_unexpired(
        open: &impl AsyncFn(&'static str) -> Arc<dyn KeyStore>,
    ) {
        let store = open("approvals").await;
        let mut waiting = Vec::new();
        for (seed, (requested, expires)) in (1..).zip([(30, 90), (10, 50), (20, 70)]) {
            let key = sample_key(&format!("key-{seed}"), seed);
            store.insert_key(&key).await.unwrap();
            let approval = Approval {
                requested_at: UnixSeconds(requested),
                expires_at: UnixSeconds(expires),
                ..sample_approval(seed, first(&key))
            };
            store.insert_approval(&approval, UnixSeconds(requested)).await.unwrap();
            waiting.push(approval);
        }
        waiting.sort_by_key(|approval| approval.requested_at);
        for (now, expired) in [(49, 0), (50, 1), (69, 1), (70, 2), (90, 3), (u64::MAX, 3)] {
            let listed = store.list_approvals(UnixSeconds(now)).await.unwrap();
            assert_eq!(listed, waiting[expired..], "at {now}");
        }
    }

    pub(super) async fn an_approval_is_taken_once(
        open: &impl AsyncFn(&'static str) -> Arc<dyn KeyStore>,
    ) {
        let store = open("approval-taken").await;
        let key = sample_key("doomed", 1);
        store.insert_key(&key).await.unwrap();
        for round in 0..5 {
            let approval = sample_approval(round, first(&key));
            store.insert_approval(&approval, UnixSeconds(1000)).await.unwrap();
            let taken = at_once(16, |_| {
                let (store, id) = (Arc::clone(&store), approval.id.clone());
                async move { store.take_approval(&id).await.unwrap() }
            });
            let taken: Vec<Approval> = taken.await.into_iter().flatten().collect();
            assert_eq!(taken, [approval]);
            assert_eq!(store.list_approvals(UnixSeconds(0)).await.unwrap(), []);
        }
    }
}

mod life {
    use super::*;

    pub(super) async fn everything_is_there_after_a_reopening(
        open: &impl AsyncFn(&'static str) -> Arc<dyn KeyStore>,
    ) {
        let store = open("reopened").await;
        let (key, gone) = (sample_key("kept", 1), sample_key("gone", 2));
        store.insert_key(&key).await.unwrap();
        store.insert_key(&gone).await.unwrap();
        store.insert_version(key.id, KeyVersion::FIRST, &sample_version(2, 2)).await.unwrap();
        let block = Usage { messages: 5, bytes: 50 };
        store.reserve_usage(first(&key), block, block).await.unwrap();
        store.update_version(first(&gone), 0, &VersionChange::Destroy).await.unwrap();
        let approval = approvals::sample_approval(1, first(&key));
        store.insert_approval(&approval, UnixSeconds(0)).await.unwrap();
        let before = store.list_keys().await.unwrap();
        store.close().await;

        let reopened = open("reopened").await;
        assert_eq!(reopened.list_keys().await.unwrap(), before);
        assert_eq!(reopened.list_approvals(UnixSeconds(0)).await.unwrap(), [approval]);
        reopened.close().await;
    }

    pub(super) async fn a_store_that_answers_passes_its_check(
        open: &impl AsyncFn(&'static str) -> Arc<dyn KeyStore>,
    ) {
        let store = open("checked").await;
        let key = sample_key("bystander", 1);
        store.insert_key(&key).await.unwrap();
        for _ in 0..3 {
            store.check().await.unwrap();
        }
        assert_eq!(store.list_keys().await.unwrap(), [key]);
        assert!(!store.kind().is_empty());
    }

    pub(super) async fn a_closed_store_is_unavailable(
        open: &impl AsyncFn(&'static str) -> Arc<dyn KeyStore>,
    ) {
        let store = open("closed").await;
        let key = sample_key("kept", 1);
        let approval = approvals::sample_approval(1, first(&key));
        store.insert_key(&key).await.unwrap();
        store.close().await;
        store.close().await;
        let one = Usage { messages: 1, bytes: 1 };
        let state = VersionChange::State(VersionState::Disabled);
        let now = UnixSeconds(0);
        let results = [
            store.insert_key(&sample_key("late", 2)).await,
            store.key_by_name(&key.name).await.map(drop),
            store.key_by_id(key.id).await.map(drop),
            store.list_keys().await.map(drop),
            store.damaged_keys().await.map(drop),
            store.insert_version(key.id, KeyVersion::FIRST, &sample_version(2, 2)).await,
            store.update_version(first(&key), 0, &state).await,
            store.reserve_usage(first(&key), one, one).await.map(drop),
            store.return_usage(first(&key), one).await,
            store.insert_approval(&approval, now).await,
            store.list_approvals(now).await.map(drop),
            store.take_approval(&approval.id).await.map(drop),
            store.check().await,
        ];
        for (number, result) in results.into_iter().enumerate() {
            assert!(matches!(result, Err(StoreError::Unavailable { .. })), "{number}: {result:?}");
        }
    }
}
