//! Holds one issuer's keys: fetched, fetched again in time, and given up when nobody could confirm them for too long.
//!
//! A token with an unknown `kid` has the keys fetched at once, but not within [`ASK_AGAIN`] of the last time, by one
//! task for all who wait, and few may wait. What was fetched is used until it is older than the configuration's
//! bound, on the monotonic clock. A file that is gone or bad leaves no keys. Tests:
//! `unknown_key_ids_make_no_storm_of_fetches`, `keys_that_nobody_confirms_are_used_until_their_bound`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jsonwebtoken::Algorithm;
use tokio::sync::{Mutex as FlightMutex, Semaphore};

use super::error::{FetchError, IdentityError, Refusal};
use super::fetch::{FETCH_TIMEOUT, Fetcher};
use super::json;
use super::keys::{JWKS_BYTES_MAX, KeySet};
use super::settings::KeyPlace;
use super::token::Token;
use crate::clock::Now;
use crate::error_chain::error_chain;
use crate::file::{self, Stamp};
use crate::root::is_this_machine;

/// An issuer is not asked more often than this.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// Requests that wait for one issuer: as many as are in flight unless the configuration says otherwise.
pub(super) const WAITING_MAX: usize = 512;
const DISCOVERY_BYTES_MAX: usize = 64 << 10;

/// Where keys come from.
#[derive(Debug)]
enum Source {
    Address(Fetcher),
    /// With the issuer that the document must name.
    Discovery(Fetcher, String),
    File(std::path::PathBuf),
}

/// The keys that are used.
#[derive(Debug)]
struct Held {
    keys: KeySet,
    /// When the issuer last confirmed them; never, before the first time.
    confirmed: Option<Instant>,
    /// Counts their changes.
    generation: u64,
}

/// When the issuer was asked, and what the file looked like.
#[derive(Debug, Default)]
struct Asked {
    at: Option<Instant>,
    stamp: Option<Option<Stamp>>,
}

/// One issuer's keys.
#[derive(Debug)]
pub(super) struct IssuerKeys {
    provider: String,
    source: Source,
    algorithms: Vec<Algorithm>,
    refresh_after: Duration,
    stale_max: Duration,
    held: ArcSwap<Held>,
    /// Held by who asks the issuer.
    asked: FlightMutex<Asked>,
    waiting: Arc<Semaphore>,
    problem: Mutex<Option<FetchError>>,
    fetches: AtomicU64,
    failures: AtomicU64,
}

/// An issuer's keys at one moment.
#[derive(Clone, Debug)]
pub struct KeysStatus {
    /// Keys that can check a signature.
    pub keys: usize,
    /// Since the issuer last confirmed them.
    pub age: Option<Duration>,
    /// Whether tokens are checked with them.
    pub usable: bool,
}

impl IssuerKeys {
    pub(super) fn new(
        provider: &str,
        issuer: &str,
        place: &KeyPlace,
        algorithms: &[Algorithm],
        (refresh_after, stale_max): (Duration, Duration),
    ) -> Result<Self, IdentityError> {
        let source = match place {
            KeyPlace::Address(endpoint) => Source::Address(Fetcher::new(provider, endpoint)?),
            KeyPlace::Discovery(endpoint) => {
                Source::Discovery(Fetcher::new(provider, endpoint)?, issuer.to_owned())
            }
            KeyPlace::File(path) => Source::File(path.clone()),
        };
        let held = Held { keys: KeySet::empty(), confirmed: None, generation: 0 };
        Ok(Self {
            provider: provider.to_owned(),
            source,
            algorithms: algorithms.to_vec(),
            refresh_after,
            stale_max,
            held: ArcSwap::from_pointee(held),
            asked: FlightMutex::default(),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            problem: Mutex::new(None),
            fetches: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        })
    }

    /// Which keys are used now: another number after each change. `None` if none may be.
    pub(super) fn generation(&self, now: Now) -> Option<u64> {
        let held = self.held.load();
        self.is_usable(&held, now).then_some(held.generation)
    }

    fn is_usable(&self, held: &Held, now: Now) -> bool {
        match (&self.source, held.confirmed) {
            (_, None) => false,
            (Source::File(_), Some(_)) => true,
            (_, Some(confirmed)) => now.since(confirmed) < self.stale_max,
        }
    }

    /// Checks the signature of `token`: the generation of the keys that did. Asks the issuer if it knows another key.
    pub(super) async fn verify(
        self: &Arc<Self>,
        token: &Token<'_>,
        now: Now,
    ) -> Result<u64, Refusal> {
        match self.verify_now(token, now) {
            Err(Refusal::UnknownKey | Refusal::NoKeys) => {
                self.ask_and_wait(now).await?;
                self.verify_now(token, now)
            }
            verified => verified,
        }
    }

    fn verify_now(&self, token: &Token<'_>, now: Now) -> Result<u64, Refusal> {
        let held = self.held.load();
        if !self.is_usable(&held, now) {
            return Err(Refusal::NoKeys);
        }
        held.keys.verify(token).map(|()| held.generation)
    }

    /// Has the issuer asked, if it was not a moment ago, and waits for that, however long others have waited already.
    async fn ask_and_wait(self: &Arc<Self>, now: Now) -> Result<(), Refusal> {
        // Nobody asks, and somebody did: there is nothing to wait for.
        if self.asked.try_lock().is_ok_and(|asked| self.is_recent(&asked, now)) {
            return Ok(());
        }
        let place = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| Refusal::Busy)?;
        let keys = Arc::clone(self);
        // A task of its own: a client that goes away does not end what others wait for.
        let task = tokio::spawn(async move {
            let mut asked = keys.asked.lock().await;
            if !keys.is_recent(&asked, now) {
                keys.ask(&mut asked, now).await;
            }
            drop((asked, place));
        });
        let _ = tokio::time::timeout(FETCH_TIMEOUT, task).await;
        Ok(())
    }

    fn is_recent(&self, asked: &Asked, now: Now) -> bool {
        let floor = ASK_AGAIN.min(self.refresh_after);
        asked.at.is_some_and(|at| now.since(at) < floor)
    }

    /// Asks the issuer if it is time to, and reads the file if it has changed. Called on a timer.
    pub(super) async fn keep_fresh(&self, now: Now) {
        // Who asks already does it for us.
        let Ok(mut asked) = self.asked.try_lock() else { return };
        let due = match &self.source {
            Source::File(path) => asked.stamp != Some(Stamp::of(path).ok()),
            _ if self.problem().is_some() => !self.is_recent(&asked, now),
            _ => asked.at.is_none_or(|at| now.since(at) >= self.refresh_after),
        };
        if due {
            self.ask(&mut asked, now).await;
        }
    }

    async fn ask(&self, asked: &mut Asked, now: Now) {
        asked.at = Some(now.monotonic);
        self.fetches.fetch_add(1, Ordering::Relaxed);
        if let Source::File(path) = &self.source {
            asked.stamp = Some(Stamp::of(path).ok());
        }
        let found = tokio::time::timeout(FETCH_TIMEOUT, self.fetch()).await;
        let late = || FetchError::Unreached { reason: "no answer in time".to_owned() };
        let problem = match found.unwrap_or_else(|_| Err(late())) {
            Ok(keys) => {
                self.hold(keys, Some(now.monotonic));
                None
            }
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                if matches!(self.source, Source::File(_)) {
                    self.hold(KeySet::empty(), None);
                }
                Some(error)
            }
        };
        self.tell(problem);
    }

    /// Keeps what came of asking, and logs it where it is another than the last time.
    fn tell(&self, problem: Option<FetchError>) {
        let mut last = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        let provider = &self.provider;
        match &problem {
            Some(error) if *last != problem => tracing::warn!(
                provider,
                error = error_chain(error),
                "an issuer's keys cannot be had: its tokens are refused when the keys are too old or unknown"
            ),
            None if last.is_some() => tracing::info!(provider, "an issuer's keys can be had again"),
            _ => {}
        }
        *last = problem;
    }

    fn hold(&self, keys: KeySet, confirmed: Option<Instant>) {
        let held = self.held.load();
        let same = held.keys.fingerprint() == keys.fingerprint();
        let generation = if same { held.generation } else { held.generation + 1 };
        if !same {
            tracing::info!(provider = self.provider, keys = keys.len(), "an issuer's keys changed");
        }
        self.held.store(Arc::new(Held { keys, confirmed, generation }));
    }

    async fn fetch(&self) -> Result<KeySet, FetchError> {
        let bytes = match &self.source {
            Source::Address(fetcher) => fetcher.get(fetcher.address(), JWKS_BYTES_MAX).await?,
            Source::Discovery(fetcher, issuer) => {
                let address = discover(fetcher, issuer).await?;
                fetcher.get(&address, JWKS_BYTES_MAX).await?
            }
            Source::File(path) => file::read(path, JWKS_BYTES_MAX as u64)
                .map_err(|_| FetchError::File { path: path.clone() })?,
        };
        KeySet::parse(&bytes, &self.algorithms)
    }

    pub(super) fn status(&self, now: Now) -> KeysStatus {
        let held = self.held.load();
        KeysStatus {
            keys: held.keys.len(),
            age: held.confirmed.map(|confirmed| now.since(confirmed)),
            usable: self.is_usable(&held, now),
        }
    }

    /// Why the keys could not be had the last time.
    pub(super) fn problem(&self) -> Option<FetchError> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often the issuer was asked, and how often that failed.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.fetches.load(Ordering::Relaxed), self.failures.load(Ordering::Relaxed))
    }
}

/// Where the discovery document of `issuer` says that its keys are (OpenID Connect Discovery 1.0, section 4).
async fn discover(fetcher: &Fetcher, issuer: &str) -> Result<String, FetchError> {
    let address = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let wanted = "discovery document with a jwks_uri over https";
    let bytes = fetcher.get(&address, DISCOVERY_BYTES_MAX).await?;
    let document = json::object(&bytes).ok_or(FetchError::Content { wanted })?;
    let text = |name: &str| document.get(name).and_then(serde_json::Value::as_str);
    if text("issuer") != Some(issuer) {
        return Err(FetchError::OtherIssuer);
    }
    match text("jwks_uri") {
        Some(address) if is_safe(address) => Ok(address.to_owned()),
        _ => Err(FetchError::Content { wanted }),
    }
}

/// Whether keys can be believed from there: over TLS, or from this machine itself.
fn is_safe(address: &str) -> bool {
    let Ok(address) = address.parse::<http::Uri>() else { return false };
    let bare = address.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    bare && match address.scheme_str() {
        Some("https") => true,
        Some("http") => address.host().is_some_and(is_this_machine),
        _ => false,
    }
}
