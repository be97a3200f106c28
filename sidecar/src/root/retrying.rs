//! Calls a root, or an authority, with patience: a bound on each try and on the whole call, a few tries with full jitter within a
//! budget, and a circuit that leaves a root alone that does not answer.
//!
//! Depends on its trait and [`crate::clock`]. It decides nothing about keys: what passes by itself
//! ([`RootError::Unavailable`], [`RootError::Throttled`]) is tried again here, everything else goes straight back.
//! Adapters below it make one try a call and retry nothing themselves, so that tries do not multiply. Full jitter
//! and the share of retries follow "Exponential Backoff And Jitter" and "Retries" of the AWS Builders' Library.

mod circuit;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tower::retry::budget::{Budget, TpsBudget};

use super::authority::{Authority, AuthorityDescription, AuthoritySignature};
use super::{Binding, Root, RootDescription, RootError};
use crate::clock::Clock;
use crate::names::RootName;
use crate::secret::{KeyVersionSecret, WrappedKey};
use circuit::Circuit;

/// Tries of one call, the first included.
const TRIES_MAX: u32 = 3;
/// The longest wait before the second try; it doubles with each.
const WAIT_FIRST: Duration = Duration::from_millis(50);
/// A root that asks for more than this is not waited for: the request is, with `Retry-After`.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Between the tries of a check.
const CHECK_AGAIN: Duration = Duration::from_millis(250);
/// Calls to the root at once: thousands of cold keys do not all arrive there together.
const CALLS_MAX: usize = 64;
/// Retries are at most this share of the calls of the last ten seconds, and [`RETRIES_PER_SECOND`] more.
const RETRY_SHARE: f32 = 0.2;
const RETRY_WINDOW: Duration = Duration::from_secs(10);
const RETRIES_PER_SECOND: u32 = 2;

/// How long a root is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For one try.
    pub attempt_timeout: Duration,
    /// For a call with all its tries.
    pub call_timeout: Duration,
    /// How long a root that does not answer is left alone: between half of this and all of it.
    pub retry_interval: Duration,
}

/// Another root, called with patience.
#[derive(Debug)]
pub struct RetryingRoot {
    inner: Arc<dyn Root>,
    calls: Calls,
}

impl RetryingRoot {
    /// Calls `inner` with `patience`.
    #[must_use]
    pub fn new(inner: Arc<dyn Root>, patience: Patience, clock: Arc<dyn Clock>) -> Self {
        let RootDescription { name, place, .. } = inner.describe();
        Self { inner, calls: Calls::new(name, place, patience, clock) }
    }
}

/// Another authority, called with patience. Its circuit is its own: a key that cannot sign says nothing of the root key.
#[derive(Debug)]
pub struct RetryingAuthority {
    inner: Arc<dyn Authority>,
    calls: Calls,
}

impl RetryingAuthority {
    /// Calls `inner` with `patience`.
    #[must_use]
    pub fn new(inner: Arc<dyn Authority>, patience: Patience, clock: Arc<dyn Clock>) -> Self {
        let AuthorityDescription { root, place, .. } = inner.describe();
        Self { inner, calls: Calls::new(root, place, patience, clock) }
    }
}

/// The calls to one key of a root.
#[derive(Debug)]
struct Calls {
    root: RootName,
    place: String,
    patience: Patience,
    circuit: Circuit,
    budget: TpsBudget,
    places: Semaphore,
    clock: Arc<dyn Clock>,
}

impl Calls {
    fn new(root: RootName, place: String, patience: Patience, clock: Arc<dyn Clock>) -> Self {
        Self {
            root,
            place,
            patience,
            circuit: Circuit::new(patience.retry_interval),
            budget: TpsBudget::new(RETRY_WINDOW, RETRIES_PER_SECOND, RETRY_SHARE),
            places: Semaphore::new(CALLS_MAX),
            clock,
        }
    }

    /// Makes one call of as many tries as it takes, and as patience, budget and circuit allow.
    async fn call<T, F>(&self, start: impl Fn() -> F + Send + Sync) -> Result<T, RootError>
    where
        F: Future<Output = Result<T, RootError>> + Send,
        T: Send,
    {
        let Patience { call_timeout, .. } = self.patience;
        let Ok(place) = tokio::time::timeout(call_timeout, self.places.acquire()).await else {
            // It says nothing of the root that others have not heard from it either.
            return Err(self.silent(call_timeout));
        };
        let done = tokio::time::timeout(call_timeout, self.tries(start)).await;
        drop(place);
        done.unwrap_or_else(|_| Err(self.silent(call_timeout)))
    }

    async fn tries<T, F>(&self, start: impl Fn() -> F + Send + Sync) -> Result<T, RootError>
    where
        F: Future<Output = Result<T, RootError>> + Send,
        T: Send,
    {
        let mut longest_wait = WAIT_FIRST;
        for tries_left in (0..TRIES_MAX).rev() {
            let is_first = tries_left + 1 == TRIES_MAX;
            let error = match self.one_try(&start, is_first).await {
                Err(error) if error.may_pass() => error,
                done => return done,
            };
            let wait = wait_before_retry(&error, longest_wait);
            let ends_here = tries_left == 0 || wait > WAIT_MAX || self.circuit.is_open();
            if ends_here || !self.budget.withdraw() {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            longest_wait *= 2;
        }
        Err(self.silent(self.patience.call_timeout))
    }

    async fn one_try<T, F>(
        &self,
        start: &(impl Fn() -> F + Send + Sync),
        is_first: bool,
    ) -> Result<T, RootError>
    where
        F: Future<Output = Result<T, RootError>> + Send,
        T: Send,
    {
        if let Err(broken) = self.circuit.admit(self.clock.now().monotonic) {
            let root = self.root.clone();
            let retry_after = Some(broken.retry_after);
            return Err(RootError::Unavailable { root, reason: broken.reason, retry_after });
        }
        if is_first {
            self.budget.deposit();
        }
        let attempt_timeout = self.patience.attempt_timeout;
        let done = match tokio::time::timeout(attempt_timeout, start()).await {
            Ok(done) => done,
            Err(_) => Err(self.silent(attempt_timeout)),
        };
        match done {
            Err(error) if error.may_pass() => Err(self.failed(error)),
            done => {
                self.circuit.answered();
                done
            }
        }
    }

    /// Notes a failed try.
    fn failed(&self, error: RootError) -> RootError {
        let reason = match &error {
            RootError::Unavailable { reason, .. } => reason.clone(),
            other => other.to_string(),
        };
        self.circuit.failed(self.clock.now().monotonic, reason);
        error
    }

    fn silent(&self, after: Duration) -> RootError {
        let (root, place) = (self.root.clone(), &self.place);
        let after = humantime::format_duration(after);
        let reason = format!("no answer from {place} within {after}: check that it can be reached");
        RootError::Unavailable { root, reason, retry_after: None }
    }

    /// A check, tried again for as long as a call may take: at a start, credentials may be slow to come.
    async fn check<F>(&self, start: impl Fn() -> F + Send + Sync) -> Result<Vec<String>, RootError>
    where
        F: Future<Output = Result<Vec<String>, RootError>> + Send,
    {
        let last = Mutex::new(None);
        let tries = async {
            loop {
                match start().await {
                    Err(error) if error.may_pass() => {
                        *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        tokio::time::sleep(CHECK_AGAIN).await;
                    }
                    checked => return checked,
                }
            }
        };
        let call_timeout = self.patience.call_timeout;
        let checked = tokio::time::timeout(call_timeout, tries).await;
        checked.unwrap_or_else(|_| {
            let last = last.lock().unwrap_or_else(PoisonError::into_inner).take();
            Err(last.unwrap_or_else(|| self.silent(call_timeout)))
        })
    }
}

/// Full jitter: anything from nothing to `longest`; after what the root asks for, if that is known.
fn wait_before_retry(error: &RootError, longest: Duration) -> Duration {
    error.retry_after().unwrap_or_default() + longest.mul_f64(circuit::random_share())
}

#[async_trait]
impl Root for RetryingRoot {
    async fn wrap(
        &self,
        secret: &KeyVersionSecret,
        binding: Binding<'_>,
    ) -> Result<WrappedKey, RootError> {
        self.calls.call(|| self.inner.wrap(secret, binding)).await
    }

    async fn unwrap_key(
        &self,
        wrapped: &WrappedKey,
        binding: Binding<'_>,
    ) -> Result<KeyVersionSecret, RootError> {
        self.calls.call(|| self.inner.unwrap_key(wrapped, binding)).await
    }

    async fn check(&self, domain: &str) -> Result<Vec<String>, RootError> {
        self.calls.check(|| self.inner.check(domain)).await
    }

    fn describe(&self) -> RootDescription {
        self.inner.describe()
    }
}

#[async_trait]
impl Authority for RetryingAuthority {
    async fn sign(&self, message: &[u8]) -> Result<AuthoritySignature, RootError> {
        self.calls.call(|| self.inner.sign(message)).await
    }

    async fn check(&self) -> Result<Vec<String>, RootError> {
        self.calls.check(|| self.inner.check()).await
    }

    fn describe(&self) -> AuthorityDescription {
        self.inner.describe()
    }
}
