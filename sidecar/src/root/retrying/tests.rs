use std::sync::Mutex;

use ed25519_dalek::{Signer, SigningKey};

use super::*;
use crate::clock::{ManualClock, SystemClock};
use crate::names::{KeyId, KeyRef, KeyVersion, RootName};
use crate::root::authority::SignatureAlgorithm;
use crate::secret::{Arena, Protection};

/// What a try of the root below is answered with.
#[derive(Clone, Copy, Debug)]
enum Reply {
    Works,
    Away,
    Denied,
    Never,
}

/// Answers as `script` says for the number of the try, from 0.
#[derive(Debug)]
struct Scripted {
    script: fn(u32) -> Reply,
    tries: Mutex<u32>,
}

#[async_trait]
impl Root for Scripted {
    async fn wrap(&self, _: &KeyVersionSecret, _: Binding<'_>) -> Result<WrappedKey, RootError> {
        let number = {
            let mut tries = self.tries.lock().unwrap();
            *tries += 1;
            *tries - 1
        };
        let (root, reason) = (RootName::local(), "told".to_owned());
        match (self.script)(number) {
            Reply::Works => Ok(WrappedKey::from_bytes(vec![1])),
            Reply::Away => Err(RootError::Unavailable { root, reason, retry_after: None }),
            Reply::Denied => Err(RootError::Denied { root, reason }),
            Reply::Never => std::future::pending().await,
        }
    }

    async fn unwrap_key(
        &self,
        _: &WrappedKey,
        _: Binding<'_>,
    ) -> Result<KeyVersionSecret, RootError> {
        unreachable!("these tests wrap")
    }

    async fn check(&self, _: &str) -> Result<Vec<String>, RootError> {
        Ok(Vec::new())
    }

    fn describe(&self) -> RootDescription {
        let (name, kind, place) = (RootName::local(), "scripted", "here".to_owned());
        RootDescription { name, kind, place, fingerprint: None, note: None }
    }
}

struct World {
    inner: Arc<Scripted>,
    clock: Arc<ManualClock>,
    root: RetryingRoot,
    secret: KeyVersionSecret,
}

const PATIENCE: Patience = Patience {
    attempt_timeout: Duration::from_secs(60),
    call_timeout: Duration::from_secs(120),
    retry_interval: Duration::from_secs(5),
};

impl World {
    fn new(script: fn(u32) -> Reply) -> Self {
        Self::with(script, PATIENCE)
    }

    fn with(script: fn(u32) -> Reply, patience: Patience) -> Self {
        let inner = Arc::new(Scripted { script, tries: Mutex::new(0) });
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        let arena = Arena::with_protection_at_most(Protection::Heap).unwrap();
        let secret = KeyVersionSecret::fill(&arena, |bytes| getrandom::fill(bytes)).unwrap();
        let root = RetryingRoot::new(inner.clone(), patience, clock.clone());
        Self { inner, clock, root, secret }
    }

    async fn wrap(&self) -> Result<(), RootError> {
        let key = KeyRef { id: KeyId::from_bytes([1; 8]), version: KeyVersion::FIRST };
        self.root.wrap(&self.secret, Binding { key, domain: "d" }).await.map(drop)
    }

    /// Wraps until the circuit is open.
    async fn until_left_alone(&self) {
        for _ in 0..8 {
            assert!(self.wrap().await.is_err());
        }
        assert!(self.root.calls.circuit.is_open());
    }

    fn tries(&self) -> u32 {
        *self.inner.tries.lock().unwrap()
    }
}

#[tokio::test]
async fn a_failure_that_may_pass_is_tried_again() {
    let world = World::new(|number| if number < 2 { Reply::Away } else { Reply::Works });
    world.wrap().await.unwrap();
    assert_eq!(world.tries(), 3);
}

#[tokio::test]
async fn a_call_has_three_tries_at_most() {
    let world = World::new(|_| Reply::Away);
    assert!(matches!(world.wrap().await, Err(RootError::Unavailable { .. })));
    assert_eq!(world.tries(), 3);
}

#[tokio::test]
async fn a_refusal_is_not_tried_again() {
    let world = World::new(|_| Reply::Denied);
    assert!(matches!(world.wrap().await, Err(RootError::Denied { .. })));
    assert_eq!(world.tries(), 1);
}

#[tokio::test]
async fn a_root_that_does_not_answer_is_left_alone_and_tried_once_an_interval() {
    let world = World::new(|_| Reply::Away);
    world.until_left_alone().await;
    assert_eq!(world.tries(), 8, "that many failures open the circuit");
    for _ in 0..100 {
        let Err(RootError::Unavailable { retry_after, reason, .. }) = world.wrap().await else {
            panic!("an open circuit answers by itself");
        };
        assert!(retry_after.unwrap() <= PATIENCE.retry_interval);
        assert_eq!(reason, "told", "and says what went wrong before");
    }
    assert_eq!(world.tries(), 8);
    for interval in 1..=3 {
        world.clock.advance(PATIENCE.retry_interval);
        for _ in 0..10 {
            assert!(world.wrap().await.is_err());
        }
        assert_eq!(world.tries(), 8 + interval);
    }
}

#[tokio::test]
async fn a_root_that_comes_back_is_used_again_within_one_interval() {
    let world = World::new(|number| if number < 8 { Reply::Away } else { Reply::Works });
    world.until_left_alone().await;
    world.clock.advance(PATIENCE.retry_interval);
    for _ in 0..3 {
        world.wrap().await.unwrap();
    }
    assert_eq!(world.tries(), 11);
}

#[tokio::test]
async fn a_root_that_fails_now_and_then_stays_in_use() {
    let world = World::new(|number| if number % 3 == 2 { Reply::Works } else { Reply::Away });
    for _ in 0..20 {
        // Once the budget for retries is used up, a call may fail; the circuit must not make that worse.
        let _ = world.wrap().await;
        assert!(!world.root.calls.circuit.is_open());
    }
}

#[tokio::test]
async fn retries_stay_within_their_budget() {
    let world = World::new(|number| if number % 2 == 0 { Reply::Away } else { Reply::Works });
    let mut failed = 0;
    for _ in 0..100 {
        failed += u32::from(world.wrap().await.is_err());
    }
    let retries = world.tries() - 100;
    assert!(retries >= 20, "{retries}: some are made");
    assert!(failed > 0 && retries <= 60, "{retries}: a fifth, and those of the reserve");
}

#[tokio::test]
async fn a_root_that_hangs_is_given_up_and_named() {
    let patience = Patience { attempt_timeout: Duration::from_millis(5), ..PATIENCE };
    let world = World::with(|_| Reply::Never, patience);
    let Err(RootError::Unavailable { reason, .. }) = world.wrap().await else {
        panic!("it never answers");
    };
    assert!(reason.contains("no answer from here within 5ms"), "{reason}");
    assert_eq!(world.tries(), 3);

    let patience = Patience { call_timeout: Duration::from_millis(5), ..PATIENCE };
    let world = World::with(|_| Reply::Never, patience);
    assert!(matches!(world.wrap().await, Err(RootError::Unavailable { .. })));
    assert_eq!(world.tries(), 1, "the bound on the whole call ends it");
}

/// Fails `failures` times and then signs.
#[derive(Debug)]
struct ScriptedAuthority {
    failures: u32,
    tries: Mutex<u32>,
}

#[async_trait]
impl Authority for ScriptedAuthority {
    async fn sign(&self, message: &[u8]) -> Result<AuthoritySignature, RootError> {
        let mut tries = self.tries.lock().unwrap();
        *tries += 1;
        let (root, reason) = (RootName::local(), "told".to_owned());
        if *tries <= self.failures {
            return Err(RootError::Unavailable { root, reason, retry_after: None });
        }
        let key = SigningKey::from_bytes(&[7; 32]);
        let public_key = key.verifying_key().to_bytes().to_vec();
        let signature = key.sign(message).to_bytes().to_vec();
        let algorithm = SignatureAlgorithm::Ed25519;
        AuthoritySignature::verified("a", algorithm, public_key, signature, message)
            .ok_or(RootError::WrongSignature { root })
    }

    fn describe(&self) -> AuthorityDescription {
        let (root, place) = (RootName::local(), "here".to_owned());
        AuthorityDescription { name: "a".to_owned(), root, kind: "scripted", place }
    }
}

#[tokio::test]
async fn an_authority_is_called_with_the_same_patience() {
    let with = |failures| {
        let inner = Arc::new(ScriptedAuthority { failures, tries: Mutex::new(0) });
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        (inner.clone(), RetryingAuthority::new(inner, PATIENCE, clock))
    };
    let (inner, authority) = with(2);
    assert!(authority.sign(b"m").await.unwrap().verifies(b"m"));
    assert_eq!(*inner.tries.lock().unwrap(), 3);
    assert_eq!(authority.describe(), inner.describe());
    let (_, authority) = with(2);
    assert_eq!(authority.check().await.unwrap(), Vec::<String>::new());
    let (_, authority) = with(u32::MAX);
    for _ in 0..8 {
        assert!(authority.sign(b"m").await.unwrap_err().may_pass());
    }
    assert!(authority.calls.circuit.is_open());
}
