//! What an emergency opens and for how long, with real policies, a real key and a clock that moves when it is told to.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::audit::recording::Recorded;
use crate::clock::{Clock as _, ManualClock, SystemClock, UnixSeconds};
use crate::emergency::{Emergencies, EmergencyError};
use crate::envelope::Context;
use crate::keyring::{Keyring, KeyringSettings, NewKey, Roots};
use crate::limits::{CallerSizes, LimitSizes, Limits, RateSizes};
use crate::policy::{Caller, CallerKind, Document, ENTITIES_FILE, Identity, Policies, Transport};
use crate::root::local::LocalRoot;
use crate::secret::{Arena, OpenBuffer, Protection, SealBuffer};
use crate::store::sqlite::SqliteStore;

const REASON: &str = "the patient is unconscious";
const ON_CALL: &str =
    "[key_groups.phi]\nkeys = [\"patients\"]\n[roles.emergency]\nmembers = [\"grey\", \"bailey\"]";
const NOBODY_ON_CALL: &str = "[key_groups.phi]\nkeys = [\"patients\"]";
const INTAKE: &str =
    "permit (principal == Caller::\"intake\", action, resource == Key::\"patients\");";

fn policies(entities: &str, more: &str) -> Policies {
    let document =
        |name: &str, text: &str| Document { name: name.to_owned(), text: text.to_owned() };
    let texts =
        [document(ENTITIES_FILE, entities), document("a.cedar", &format!("{INTAKE}{more}"))];
    Policies::load(&texts, &["phi", "emergency"], &[]).unwrap()
}

fn caller(name: &str) -> Caller {
    let identity = Identity::new(name.parse().unwrap(), CallerKind::Person, Vec::new());
    Caller { identity: identity.into(), transport: Transport::Tcp, mfa: true }
}

/// A service with one key, and one record of a patient.
struct World {
    _folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    service: Service,
    log: Recorded,
    context: Context,
    record: Vec<u8>,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let arena = Arena::with_protection_at_most(Protection::Heap).unwrap();
        let path = folder.path().join("root.key");
        LocalRoot::create_key_file(&path).unwrap();
        let roots = Roots::new(vec![Arc::new(LocalRoot::from_key_file(&path, &arena).unwrap())]);
        let store = Arc::new(SqliteStore::open(&folder.path().join("keys.db")).await.unwrap());
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        let many = NonZeroU32::new(1 << 30).unwrap();
        let rate = RateSizes { requests_per_second: many, bytes_per_second: many };
        let limits = Limits::new(LimitSizes {
            batch_items_max: 10,
            taken_bytes_max: 1 << 20,
            in_flight_max: 10,
            body_memory_bytes_max: 1 << 20,
            caller: CallerSizes { rate, in_flight_max: 10, body_memory_bytes_max: 1 << 20 },
            callers: HashMap::new(),
            key: rate,
            keys: HashMap::new(),
        });
        let keyring = Keyring::new(settings(), roots, store, arena);
        let (policies, emergencies) = (policies(ON_CALL, ""), Emergencies::new(60));
        let log = Recorded::with_clock(Arc::clone(&clock) as _).await;
        let (audit, now) = (log.audit.clone(), Arc::clone(&clock) as _);
        let service = Service::new(policies, limits, emergencies, keyring, audit, now);
        let key = "patients".parse().unwrap();
        let mut intake = log.audit.attempt(caller("intake"), "create_key", "-");
        service.create_key(&mut intake, &key, NewKey::default()).await.unwrap();
        let context = Context::new([("tenant".to_owned(), "clinic-7".to_owned())]).unwrap();
        let sealed = service
            .encrypt(&mut intake, &key, &context, SealBuffer::copied_from(b"allergies"))
            .await;
        let record = sealed.unwrap().ciphertext.as_bytes().to_vec();
        Self { _folder: folder, clock, service, log, context, record }
    }

    fn attempt(&self, who: Caller) -> Attempt {
        self.log.audit.attempt(who, "test", "-")
    }

    async fn reads(&self, who: &str) -> bool {
        let record = OpenBuffer::from_received(self.record.clone());
        let mut attempt = self.attempt(caller(who));
        match self.service.decrypt(&mut attempt, &self.context, record).await {
            Ok(opened) => opened.plaintext.expose_bytes() == b"allergies",
            Err(Error::Forbidden) => false,
            Err(other) => panic!("{other}"),
        }
    }

    async fn begin(&self, who: &str) -> Result<Emergency, Error> {
        self.begin_as(caller(who), REASON, 10).await
    }

    async fn begin_as(&self, who: Caller, reason: &str, minutes: u32) -> Result<Emergency, Error> {
        let begun = self.service.begin_emergency(&mut self.attempt(who), reason, minutes).await;
        begun.map(super::Recorded::into_value)
    }

    async fn end(&self, who: &str) {
        self.service.end_emergency(&mut self.attempt(caller(who))).await.unwrap();
    }
}

fn settings() -> KeyringSettings {
    let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
    KeyringSettings {
        domain: "test".to_owned(),
        refresh_after: 5 * minute,
        root_recheck: 15 * minute,
        encrypt_stale_max: 24 * hour,
        decrypt_stale_max: 24 * hour,
        idle_evict: 24 * hour,
        retry_interval: Duration::from_secs(5),
        messages_max: 1 << 32,
        bytes_max: 1 << 50,
        destroy_delay: hour,
        approval_expiry: hour,
    }
}

#[tokio::test]
async fn who_is_on_call_reads_once_the_glass_is_broken_and_until_they_end_it() {
    let world = World::new().await;
    assert!(!world.reads("grey").await);
    let begun = world.begin("grey").await.unwrap();
    assert_eq!((begun.caller.as_str(), begun.reason.as_str()), ("grey", REASON));
    // Twice: the second answer is a remembered one.
    assert!(world.reads("grey").await && world.reads("grey").await);
    assert!(!world.reads("bailey").await, "on call too, and has broken no glass");
    assert!(!world.reads("intake").await, "phi.purpose holds for everybody else");
    world.end("grey").await;
    assert!(!world.reads("grey").await);
    let counts = world.service.emergencies().counts(world.clock.now());
    assert_eq!((counts.active, counts.begun, counts.decisions), (0, 1, 2));
}

#[tokio::test]
async fn what_was_remembered_does_not_outlive_the_emergency() {
    let world = World::new().await;
    world.begin("grey").await.unwrap();
    world.clock.advance(Duration::from_secs(10 * 60 - 1));
    assert!(world.reads("grey").await && world.reads("grey").await);
    world.clock.advance(Duration::from_secs(1));
    assert!(!world.reads("grey").await, "nobody has swept it out, and it covers nobody");
    world.begin("grey").await.unwrap();
    assert!(world.reads("grey").await);
    world.clock.jump_wall(UnixSeconds(1_000));
    world.clock.advance(Duration::from_secs(10 * 60));
    assert!(!world.reads("grey").await, "a wall clock that is set back lengthens nothing");
}

#[tokio::test]
async fn what_was_remembered_does_not_outlive_a_role_that_is_taken_away() {
    let world = World::new().await;
    world.begin("grey").await.unwrap();
    assert!(world.reads("grey").await && world.reads("grey").await);
    world.service.set_policies(policies(NOBODY_ON_CALL, ""));
    assert!(!world.reads("grey").await, "in the middle of the emergency");
    world.end("grey").await;
    assert!(matches!(world.begin("grey").await, Err(Error::Forbidden)));
    world.service.set_policies(policies(ON_CALL, ""));
    assert!(!world.reads("grey").await);
}

#[tokio::test]
async fn what_was_remembered_does_not_outlive_a_change_of_policies() {
    let world = World::new().await;
    world.begin("grey").await.unwrap();
    assert!(world.reads("grey").await && world.reads("grey").await);
    let closed = "forbid (principal, action == Action::\"decrypt\", resource);";
    world.service.set_policies(policies(ON_CALL, closed));
    assert!(!world.reads("grey").await && !world.reads("grey").await);
    world.service.set_policies(policies(ON_CALL, ""));
    assert!(world.reads("grey").await, "the emergency itself goes on");
}

#[tokio::test]
async fn only_who_is_permitted_breaks_the_glass_and_with_a_second_factor() {
    let world = World::new().await;
    assert!(matches!(world.begin("stranger").await, Err(Error::Forbidden)));
    let without = Caller { mfa: false, ..caller("grey") };
    let begun = world.begin_as(without, REASON, 10).await;
    assert!(matches!(begun, Err(Error::Forbidden)), "{begun:?}");
    // Who may not is told so, and not what would be a reason.
    let begun = world.begin_as(caller("stranger"), "", 0).await;
    assert!(matches!(begun, Err(Error::Forbidden)), "{begun:?}");
    let begun = world.begin_as(caller("grey"), "short", 10).await;
    assert!(matches!(begun, Err(Error::Emergency(EmergencyError::Reason))), "{begun:?}");
    assert_eq!(world.service.emergencies().list(world.clock.now()), []);
}

#[tokio::test]
async fn who_may_not_see_the_status_sees_their_own_emergency_alone() {
    let world = World::new().await;
    let status =
        "permit (principal == Caller::\"monitor\", action == Action::\"read_status\", resource);";
    world.service.set_policies(policies(ON_CALL, status));
    world.begin("grey").await.unwrap();
    world.begin("bailey").await.unwrap();
    let seen = async |who: &str| {
        let mut attempt = world.attempt(caller(who));
        let listed = world.service.list_emergencies(&mut attempt).await.unwrap();
        listed.iter().map(|emergency| emergency.caller.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(seen("monitor").await, ["bailey", "grey"]);
    assert_eq!((seen("grey").await, seen("stranger").await), (vec!["grey".to_owned()], vec![]));
}
