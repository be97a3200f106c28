//! SIGKILL at any moment loses nothing that was acknowledged: no key, no version, no state, no audit entry.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keypod_tests::{Client, Sidecar, SidecarBuilder, until};
use serde_json::{Value, json};

use super::known::{Known, Sealed};

/// How often it is killed, unless `KEYPOD_TEST_ROUNDS` says otherwise.
const ROUNDS: u64 = 15;
const STATES: [&str; 3] = ["decrypt_only", "disabled", "enabled"];

#[allow(clippy::disallowed_methods, reason = "a test may read the environment")]
fn rounds() -> u64 {
    std::env::var("KEYPOD_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

/// A number that looks random, the same in every run (SplitMix64).
fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// One client of one round: it goes on until the sidecar is gone.
#[derive(Clone)]
struct Worker {
    client: Client,
    known: Arc<Known>,
    acknowledged: Arc<AtomicUsize>,
    /// The ids of the requests whose answers have come, whole.
    answered: Arc<Mutex<Vec<String>>>,
    seed: u64,
}

impl Worker {
    /// The answer, or nothing once the sidecar is gone. Any answer other than `expected` is a defect.
    async fn post(&self, path: &str, body: Value, expected: u16) -> Option<Value> {
        let answer = self.client.request("POST", path).json(&body).send().await.ok()?;
        let status = answer.status();
        let request = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        let text = answer.bytes().await.ok()?;
        assert_eq!(status, expected, "{path} {}", String::from_utf8_lossy(&text));
        self.answered.lock().unwrap().push(request);
        Some(serde_json::from_slice(&text).unwrap())
    }

    fn note(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    /// One of the known keys.
    fn some_key(&self, draw: u64) -> String {
        let facts = self.known.facts();
        let index = usize::try_from(draw).unwrap() % facts.keys.len();
        facts.keys.keys().nth(index).unwrap().clone()
    }

    async fn encrypt(self) {
        for turn in self.seed.. {
            let draw = scattered(turn) >> 8;
            let key = self.some_key(draw);
            let plaintext = vec![draw.to_be_bytes()[7]; usize::try_from(draw % 900).unwrap()];
            let body = json!({ "key": key, "plaintext": STANDARD.encode(&plaintext) });
            let Some(answer) = self.post("/v1/encrypt", body, 200).await else { return };
            let version = answer["key_version"].as_u64().unwrap();
            let ciphertext = answer["ciphertext"].as_str().unwrap().to_owned();
            self.known.sealed(Sealed { key, version, ciphertext, plaintext });
            self.note();
        }
    }

    async fn rotate(self) {
        for turn in self.seed.. {
            let key = self.some_key(scattered(turn) >> 8);
            let before = self.known.facts().keys[&key];
            let body = json!({ "key": key });
            let Some(answer) = self.post("/v1/rotate", body, 200).await else { return };
            let version = answer["key_version"].as_u64().unwrap();
            // Nobody else rotates: a version that this client has been told before is none that it made.
            assert!(version > before, "{key} was rotated from {before} to {version}");
            self.known.facts().keys.insert(key, version);
            self.note();
        }
    }

    async fn create(self) {
        for turn in self.seed.. {
            let name = format!("k{turn}");
            let Some(_) = self.post("/v1/keys", json!({ "name": name }), 201).await else { return };
            self.known.facts().keys.insert(name, 1);
            self.note();
        }
    }

    async fn set_states(self) {
        for turn in self.seed.. {
            let state = STATES[usize::try_from(turn % 3).unwrap()];
            self.known.facts().states.insert(state);
            let path = "/v1/keys/states/versions/1/state";
            let Some(key) = self.post(path, json!({ "state": state }), 200).await else { return };
            assert_eq!(key["versions"][0]["state"], state, "the answer shows what was set");
            self.known.facts().states = [state].into();
            self.note();
        }
    }
}

/// Panics unless the log of this round has a success for each of these requests.
fn assert_all_audited(sidecar: &Sidecar, round: u64, answered: &[String]) {
    let entries = sidecar.audit_entries_of(round);
    let done = entries.iter().filter(|entry| entry.said["outcome"] == "ok");
    let done: HashSet<_> = done.filter_map(|entry| entry.said["request"].as_str()).collect();
    let missing: Vec<_> = answered.iter().filter(|id| !done.contains(id.as_str())).collect();
    assert!(
        missing.is_empty(),
        "round {round}: {} of {} are missing",
        missing.len(),
        answered.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigkill_at_any_moment_loses_nothing_that_was_acknowledged() {
    let builder = SidecarBuilder::new().variable("KEYPOD_LOG__FILTER", "info");
    let mut sidecar = builder.key("first").key("second").key("states").start().await;
    let known = Arc::new(Known::default());
    known.facts().keys = [("first".to_owned(), 1), ("second".to_owned(), 1)].into();
    known.facts().states = ["enabled"].into();
    for round in 1..=rounds() {
        let enough = usize::try_from(5 + scattered(round) % 400).unwrap();
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let answered = Arc::new(Mutex::new(Vec::new()));
        let worker = |number: u64| Worker {
            client: sidecar.client(),
            known: Arc::clone(&known),
            acknowledged: Arc::clone(&acknowledged),
            answered: Arc::clone(&answered),
            seed: (round << 32) + (number << 24),
        };
        let mut workers: Vec<_> =
            (0..6).map(|number| tokio::spawn(worker(number).encrypt())).collect();
        workers.push(tokio::spawn(worker(6).rotate()));
        workers.push(tokio::spawn(worker(7).create()));
        workers.push(tokio::spawn(worker(8).set_states()));
        until("enough is acknowledged", async || {
            acknowledged.load(Ordering::Relaxed) >= enough
                || workers.iter().any(tokio::task::JoinHandle::is_finished)
        })
        .await;
        sidecar.kill().await;
        for worker in workers {
            worker.await.unwrap();
        }
        assert!(acknowledged.load(Ordering::Relaxed) >= enough, "it ended before it was killed");
        sidecar.restart().await;
        known.check(&sidecar, round).await;
        assert_all_audited(&sidecar, round, &answered.lock().unwrap());
    }
    let facts = known.facts();
    assert!(facts.sealed.len() > 100 && facts.keys.len() > 5, "it was idle when it was killed");
}
