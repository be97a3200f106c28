//! Asks the cluster's API server whether a service account's token is good (TokenReview): one request a token and minute.
//!
//! It tells at once that a pod or an account is gone, where keys only tell when the token ends. All who come with one
//! token wait for one review of it. Few tokens are asked about at once and few a second, whatever is sent: past that
//! they are refused. Tests: `many_requests_with_one_token_are_one_review`,
//! `what_is_wrong_by_itself_is_not_asked_about_and_a_flood_is_cut`.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use super::error::{FetchError, IdentityError, Refusal};
use super::fetch::Fetcher;
use super::issuer_keys::WAITING_MAX;
use super::remembered::TokenDigest;
use super::settings::Endpoint;
use crate::flight::{Flights, NoFlight};

/// Tokens that are asked about at once.
const AT_ONCE_MAX: usize = 8;
/// Tokens that are asked about in a second.
const PER_SECOND_MAX: NonZeroU32 = NonZeroU32::new(20).unwrap();
const ANSWER_BYTES_MAX: usize = 64 << 10;
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// The API server's word about tokens.
#[derive(Debug)]
pub(super) struct Reviewer {
    fetcher: Fetcher,
    address: String,
    audience: String,
    waiting: Semaphore,
    running: Flights<TokenDigest, Result<(), Refusal>>,
    rate: DefaultDirectRateLimiter,
    problem: Mutex<Option<FetchError>>,
    reviews: AtomicU64,
    failures: AtomicU64,
}

#[derive(Deserialize)]
struct Answer {
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    authenticated: bool,
    user: User,
    audiences: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
    extra: Map<String, Value>,
}

/// What a token must be found to be.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) subject: String,
    pub(super) pod_uid: Option<String>,
}

impl Reviewer {
    pub(super) fn new(
        provider: &str,
        endpoint: &Endpoint,
        audience: &str,
    ) -> Result<Self, IdentityError> {
        let base = endpoint.address.trim_end_matches('/');
        Ok(Self {
            fetcher: Fetcher::new(provider, endpoint)?,
            address: format!("{base}/apis/authentication.k8s.io/v1/tokenreviews"),
            audience: audience.to_owned(),
            waiting: Semaphore::new(WAITING_MAX),
            running: Flights::default(),
            rate: RateLimiter::direct(Quota::per_second(PER_SECOND_MAX)),
            problem: Mutex::new(None),
            reviews: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        })
    }

    /// Whether the API server takes `token`, for our audience and as that account's. `digest` is its SHA-256.
    pub(super) async fn verify(
        self: &Arc<Self>,
        token: &str,
        digest: &TokenDigest,
        expected: Expected,
    ) -> Result<(), Refusal> {
        let _waits = self.waiting.try_acquire().map_err(|_| Refusal::Busy)?;
        let (reviewer, token) = (Arc::clone(self), token.to_owned());
        let may_start = |running| running < AT_ONCE_MAX && self.rate.check().is_ok();
        let start = || async move { reviewer.judge(&token, &expected).await };
        let review = self.running.join_if(*digest, may_start, start).await;
        review.unwrap_or_else(|none| match none {
            NoFlight::Refused => Err(Refusal::Busy),
            NoFlight::Lost => Err(Refusal::Review),
        })
    }

    async fn judge(&self, token: &str, expected: &Expected) -> Result<(), Refusal> {
        let status = self.ask(token).await.map_err(|_| Refusal::Review)?;
        if !status.authenticated || status.user.username != expected.subject {
            return Err(Refusal::Review);
        }
        // One that knows no audiences names none, and what it took was a token for itself.
        if !status.audiences.contains(&self.audience) {
            return Err(Refusal::Audience);
        }
        let pod = status.user.extra.get(POD_UID);
        let is_other = |wanted: &str| {
            let names_it = |listed: &Vec<Value>| listed.iter().any(|uid| uid == wanted);
            pod.is_some_and(|pod| !pod.as_array().is_some_and(names_it))
        };
        if expected.pod_uid.as_deref().is_some_and(is_other) { Err(Refusal::Pod) } else { Ok(()) }
    }

    /// Whether the API server can be asked: it must refuse what is no token, and not this sidecar.
    pub(super) async fn check(&self) {
        let _ = self.ask("keypod-check").await;
    }

    async fn ask(&self, token: &str) -> Result<Status, FetchError> {
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [self.audience]},
        });
        self.reviews.fetch_add(1, Ordering::Relaxed);
        let answer = self.fetcher.post(&self.address, &body, ANSWER_BYTES_MAX).await;
        let read = answer.and_then(|answer| {
            let answer: Result<Answer, _> = serde_json::from_slice(&answer);
            answer.map_err(|_| FetchError::Content { wanted: "TokenReview" })
        });
        if read.is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = read.as_ref().err().cloned();
        read.map(|answer| answer.status)
    }

    pub(super) fn problem(&self) -> Option<FetchError> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often it was asked, and how often that failed.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.reviews.load(Ordering::Relaxed), self.failures.load(Ordering::Relaxed))
    }
}
