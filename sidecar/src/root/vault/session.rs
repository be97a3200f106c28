//! The token of this process: one login whoever waits, renewed in the background, and made anew when Vault takes it
//! back.
//!
//! Reads no clock: a task sleeps until the token is due, and ends with the token. If it was not there in time (a
//! machine that slept), the next call is refused and logs in. Tests: `many_calls_at_once_make_one_login`,
//! `a_login_that_fails_fails_once_for_all_who_wait`, `a_token_is_renewed_before_it_ends`,
//! `a_token_that_was_taken_back_is_replaced_by_a_login`.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use subtle::ConstantTimeEq;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::VaultAuth;
use super::failure::{CallError, Failure};
use super::lease::{Lease, Next, TRIES_MAX};
use super::login::{Login, log_in, look_up, renew};
use super::transport::Transport;

/// How long a token that was just given is believed to have all that its role has now: a refusal to it does not make
/// another login, so that a missing policy is not a login for each request.
const NEW_FOR: Duration = Duration::from_secs(60);

/// A token. Its renewal ends with it.
pub(super) struct Held {
    token: Zeroizing<String>,
    new: AtomicBool,
    keeper: OnceLock<AbortHandle>,
}

impl Held {
    pub(super) fn expose_token(&self) -> &str {
        &self.token
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.get() {
            keeper.abort();
        }
    }
}

/// What there is instead of a token that was refused.
pub(super) enum Instead {
    /// Another one.
    Another(Arc<Held>),
    /// None: the token is valid, so it may not do what it was refused for.
    Valid,
    /// None: the token is not valid, and its file has no other.
    Invalid,
}

/// The login of this process.
pub(super) struct Session {
    auth: VaultAuth,
    transport: Arc<Transport>,
    logins: Mutex<Logins>,
    /// Logins that ended, whichever way: who has waited for one takes its outcome.
    ended: AtomicU64,
}

#[derive(Default)]
struct Logins {
    current: Option<Arc<Held>>,
    failed: Option<Failure>,
}

impl Session {
    pub(super) fn new(auth: VaultAuth, transport: Arc<Transport>) -> Arc<Self> {
        let logins = Mutex::default();
        Arc::new(Self { auth, transport, logins, ended: AtomicU64::new(0) })
    }

    /// The token, by a login if there is none.
    pub(super) async fn token(self: &Arc<Self>) -> Result<Arc<Held>, Failure> {
        self.other_than(None).await
    }

    /// What there is instead of `refused`, to which Vault has answered 403.
    pub(super) async fn instead_of(
        self: &Arc<Self>,
        refused: &Arc<Held>,
    ) -> Result<Instead, Failure> {
        let from_file = matches!(self.auth, VaultAuth::TokenFile(_));
        if !from_file && !refused.new.load(Ordering::Relaxed) {
            return self.other_than(Some(refused)).await.map(Instead::Another);
        }
        if from_file {
            let other = self.other_than(Some(refused)).await?;
            if !bool::from(other.token.as_bytes().ct_eq(refused.token.as_bytes())) {
                return Ok(Instead::Another(other));
            }
        }
        match (look_up(&self.transport, &refused.token).await, from_file) {
            (Ok(_), _) => Ok(Instead::Valid),
            (Err(CallError::Refused(_)), true) => Ok(Instead::Invalid),
            (Err(CallError::Refused(_)), false) => {
                self.other_than(Some(refused)).await.map(Instead::Another)
            }
            (Err(CallError::Failed(failure)), _) => Err(failure),
        }
    }

    async fn other_than(
        self: &Arc<Self>,
        refused: Option<&Arc<Held>>,
    ) -> Result<Arc<Held>, Failure> {
        let ended_before = self.ended.load(Ordering::Acquire);
        let mut logins = self.logins.lock().await;
        let is_refused = |held| refused.is_some_and(|refused| Arc::ptr_eq(refused, held));
        if let Some(current) = logins.current.as_ref().filter(|held| !is_refused(held)) {
            return Ok(Arc::clone(current));
        }
        let waited = self.ended.load(Ordering::Acquire) != ended_before;
        if let Some(failed) = logins.failed.as_ref().filter(|_| waited) {
            return Err(failed.clone());
        }
        logins.current = None;
        self.log_in(&mut logins).await
    }

    async fn log_in(self: &Arc<Self>, logins: &mut Logins) -> Result<Arc<Held>, Failure> {
        let outcome = log_in(&self.auth, &self.transport).await;
        self.ended.fetch_add(1, Ordering::Release);
        match outcome {
            Ok(Login { token, lease }) => {
                let new = AtomicBool::new(true);
                let held = Arc::new(Held { token, new, keeper: OnceLock::new() });
                self.keep(&held, lease);
                *logins = Logins { current: Some(Arc::clone(&held)), failed: None };
                Ok(held)
            }
            Err(failure) => {
                logins.failed = Some(failure.clone());
                Err(failure)
            }
        }
    }

    /// Has a task keep `held` alive, which ends with it.
    fn keep(self: &Arc<Self>, held: &Arc<Held>, lease: Option<Lease>) {
        let keeper = tokio::spawn(keep(Arc::downgrade(self), Arc::downgrade(held), lease));
        let _ = held.keeper.set(keeper.abort_handle());
    }

    /// Logs in although `old` is still valid. It stays if this fails.
    async fn replace(self: &Arc<Self>, old: &Weak<Held>) -> Result<(), Failure> {
        let mut logins = self.logins.lock().await;
        let current = logins.current.as_ref().map(Arc::downgrade);
        match current.is_some_and(|current| current.ptr_eq(old)) {
            true => self.log_in(&mut logins).await.map(drop),
            false => Ok(()),
        }
    }
}

/// Keeps a token alive until it is replaced.
async fn keep(session: Weak<Session>, held: Weak<Held>, lease: Option<Lease>) {
    let ages = async {
        sleep(NEW_FOR).await;
        if let Some(held) = held.upgrade() {
            held.new.store(false, Ordering::Relaxed);
        }
    };
    tokio::join!(ages, renew_until_replaced(&session, &held, lease));
}

async fn renew_until_replaced(
    session: &Weak<Session>,
    held: &Weak<Held>,
    lease: Option<Lease>,
) -> Option<()> {
    let first = match lease {
        Some(lease) => lease,
        None => looked_up(session, held).await.filter(|lease| lease.renewable)?,
    };
    let (mut lease, mut next) = (first, first.next(first));
    loop {
        sleep(lease.rest(random())?).await;
        lease = prolonged(session, held, lease, next).await?;
        next = first.next(lease);
    }
}

/// The lease of a token of a file, which does not say it; `None` if the token may not look itself up.
async fn looked_up(session: &Weak<Session>, held: &Weak<Held>) -> Option<Lease> {
    loop {
        let (live, token) = (session.upgrade()?, held.upgrade()?);
        match look_up(&live.transport, &token.token).await {
            Ok(lease) => return Some(lease),
            Err(CallError::Refused(_)) => return None,
            Err(CallError::Failed(_)) => {}
        }
        drop((live, token));
        sleep(NEW_FOR).await;
    }
}

/// The lease of a token that was renewed; `None` if it was replaced, or nothing helped.
async fn prolonged(
    session: &Weak<Session>,
    held: &Weak<Held>,
    lease: Lease,
    mut next: Next,
) -> Option<Lease> {
    for _ in 0..TRIES_MAX {
        let (live, token) = (session.upgrade()?, held.upgrade()?);
        if next == Next::Keep {
            match renew(&live.transport, &token.token).await {
                Ok(renewed) => return Some(renewed),
                Err(CallError::Refused(_)) => next = Next::LogIn,
                Err(CallError::Failed(failure)) => warn(&failure),
            }
        }
        if next == Next::LogIn {
            match live.replace(held).await {
                Ok(()) => return None,
                Err(failure) => warn(&failure),
            }
        }
        drop((live, token));
        sleep(lease.pause(random())).await;
    }
    None
}

fn warn(failure: &Failure) {
    tracing::warn!(reason = failure.reason(), "the token for Vault could not be renewed yet");
}

fn random() -> u8 {
    let mut byte = [0];
    // Without random bytes there is no jitter, which is no reason to let a token end.
    let _ = getrandom::fill(&mut byte);
    let [byte] = byte;
    byte
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Session(token hidden)")
    }
}
