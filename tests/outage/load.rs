//! A steady load on pods: each encrypts, another one decrypts it, and every answer is kept with its time.
//!
//! Closed loops with a pause, so that the load stays what it is however fast the answers come; those that decrypt do not
//! wait for those that encrypt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keypod_tests::{Answer, Client, Sidecar};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::now;

const PLAINTEXT: &str = "a record of a patient";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Encrypt,
    Decrypt,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Served,
    /// 503 `root_unavailable` with `Retry-After`.
    RootUnavailable,
    /// Anything else, with what it was.
    Failed(String),
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) begun: Instant,
    pub(crate) ended: Instant,
    pub(crate) pod: usize,
    pub(crate) operation: Operation,
    pub(crate) outcome: Outcome,
    /// Of the key, as answered; 0 if it was not.
    pub(crate) version: u64,
}

impl Sample {
    pub(crate) fn is(&self, operation: Operation) -> bool {
        self.operation == operation
    }

    pub(crate) fn served(&self) -> bool {
        self.outcome == Outcome::Served
    }
}

/// How much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Loops on each pod.
    pub(crate) loops: usize,
    /// Between two rounds of a loop.
    pub(crate) pause: Duration,
}

/// A load that goes on until it is stopped.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    loops: Vec<JoinHandle<Vec<Sample>>>,
}

impl Load {
    /// Begins on these pods, with this key. Loops begin one after another, so that requests are spread evenly.
    pub(crate) fn start(pods: &[&Sidecar], key: &str, pace: Pace) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Arc<[Client]> = pods.iter().map(|pod| pod.client()).collect();
        let all = pods.len() * pace.loops;
        let mut loops = Vec::new();
        for number in 0..all {
            let begins = pace.pause.mul_f64(share(number, all));
            let pod = number % pods.len();
            let worker = || Worker {
                clients: Arc::clone(&clients),
                pod,
                turn: number,
                stop: Arc::clone(&stop),
                samples: Vec::new(),
            };
            let (newest, sealed) = watch::channel(None);
            loops.push(tokio::spawn(worker().encrypt(key.to_owned(), begins, pace.pause, newest)));
            loops.push(tokio::spawn(worker().decrypt(pace.pause, sealed)));
        }
        Self { stop, loops }
    }

    /// Ends it: every request, in the order in which they began.
    pub(crate) async fn stop(self) -> anyhow::Result<Vec<Sample>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut samples = Vec::new();
        for task in self.loops {
            samples.extend(task.await.context("a loop of the load ended by itself")?);
        }
        samples.sort_by_key(|sample| sample.begun);
        Ok(samples)
    }
}

struct Worker {
    clients: Arc<[Client]>,
    pod: usize,
    turn: usize,
    stop: Arc<AtomicBool>,
    samples: Vec<Sample>,
}

impl Worker {
    /// Encrypts again and again, and tells of each ciphertext.
    async fn encrypt(
        mut self,
        key: String,
        begins: Duration,
        pause: Duration,
        newest: watch::Sender<Option<String>>,
    ) -> Vec<Sample> {
        let body = json!({ "key": key, "plaintext": STANDARD.encode(PLAINTEXT) });
        tokio::time::sleep(begins).await;
        while !self.stop.load(Ordering::Relaxed) {
            if let Some(sealed) = self.ask(self.pod, Operation::Encrypt, &body, "ciphertext").await
            {
                newest.send_replace(Some(sealed));
            }
            tokio::time::sleep(pause).await;
        }
        self.samples
    }

    /// Decrypts each ciphertext as soon as it is there, and the last one again where there is no new one.
    async fn decrypt(
        mut self,
        pause: Duration,
        mut sealed: watch::Receiver<Option<String>>,
    ) -> Vec<Sample> {
        while !self.stop.load(Ordering::Relaxed) {
            // The end of the other loop is soon the end of this one.
            if let Ok(Err(_)) = tokio::time::timeout(pause.mul_f64(1.25), sealed.changed()).await {
                tokio::time::sleep(pause).await;
            }
            let newest = sealed.borrow_and_update().clone();
            let Some(ciphertext) = newest else { continue };
            let other = self.other_pod();
            let body = json!({ "ciphertext": ciphertext });
            let opened = self.ask(other, Operation::Decrypt, &body, "plaintext").await;
            if let (Some(opened), Some(sample)) = (opened, self.samples.last_mut())
                && opened != STANDARD.encode(PLAINTEXT)
            {
                sample.outcome = Outcome::Failed("another plaintext came back".to_owned());
            }
        }
        self.samples
    }

    /// Each of the others in turn; this one if there is no other.
    fn other_pod(&mut self) -> usize {
        self.turn += 1;
        match self.clients.len() {
            0 | 1 => self.pod,
            pods => (self.pod + 1 + self.turn % (pods - 1)) % pods,
        }
    }

    /// Asks, keeps what came of it, and gives this field of the answer.
    async fn ask(
        &mut self,
        pod: usize,
        operation: Operation,
        body: &Value,
        field: &str,
    ) -> Option<String> {
        let client = self.clients.get(pod)?;
        let path = match operation {
            Operation::Encrypt => "/v1/encrypt",
            Operation::Decrypt => "/v1/decrypt",
        };
        let request = client.request("POST", path).json(body);
        let begun = now();
        let (answer, _) = client.send_to_its_end(request).await;
        let ended = now();
        let outcome = outcome(&answer);
        let answer: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let version = answer.get("key_version").and_then(Value::as_u64).unwrap_or_default();
        self.samples.push(Sample { begun, ended, pod, operation, outcome, version });
        answer.get(field).and_then(Value::as_str).map(str::to_owned)
    }
}

/// Of `number` in `all`.
#[allow(clippy::cast_precision_loss, reason = "a few dozen loops")]
fn share(number: usize, all: usize) -> f64 {
    number as f64 / all as f64
}

fn outcome(answer: &Answer) -> Outcome {
    let code = answer.code();
    let come_again = answer.header("retry-after").parse::<u64>().is_ok_and(|after| after > 0);
    match (answer.status, code.as_str()) {
        (200, _) => Outcome::Served,
        (503, "root_unavailable") if come_again => Outcome::RootUnavailable,
        (status, code) => Outcome::Failed(format!("{status} {code}")),
    }
}

/// How many of them are like this, and how many there are.
pub(crate) fn count<'a>(
    samples: impl IntoIterator<Item = &'a Sample>,
    is: impl Fn(&Sample) -> bool,
) -> (usize, usize) {
    let (mut counted, mut all) = (0, 0);
    for sample in samples {
        all += 1;
        counted += usize::from(is(sample));
    }
    (counted, all)
}

/// The failures among them, each kind once.
pub(crate) fn failures<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> String {
    let mut kinds: Vec<_> = samples
        .into_iter()
        .filter(|sample| !sample.served())
        .map(|sample| format!("{:?} {:?}", sample.operation, sample.outcome))
        .collect();
    kinds.sort();
    kinds.dedup();
    kinds.join("; ")
}
