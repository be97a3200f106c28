//! The roots of this sidecar together: wraps a version with each, unwraps it with any, and remembers how each answered.
//!
//! Depends on [`crate::root`] and the wrappings of [`crate::store`]. The preferred root is asked first; one that is
//! away or refuses is passed over for the next. A version is refused only if no root opens it and one of them said so:
//! to revoke a key is to revoke it at every root that wraps it. New versions are wrapped by every root, or not made.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;

use super::KeyringError;
use crate::error_chain::error_chain;
use crate::names::{KeyRef, RootName};
use crate::root::{Binding, Root, RootDescription, RootError};
use crate::secret::{KeyVersionSecret, WrappedKey};
use crate::store::Wrapping;

/// At least one root, the preferred first.
#[derive(Debug)]
pub struct Roots(Vec<Member>);

#[derive(Debug)]
struct Member {
    root: Arc<dyn Root>,
    name: RootName,
    unwraps: AtomicU64,
    unwrap_failures: AtomicU64,
    /// Why its last call failed; `None` if it did not.
    problem: Mutex<Option<String>>,
}

/// One root at one moment.
#[derive(Clone, Debug)]
pub struct RootStatus {
    /// What it is.
    pub root: RootDescription,
    /// Why its last call failed; `None` if it did not.
    pub problem: Option<String>,
    /// Unwraps asked of it.
    pub unwraps: u64,
    /// Of those, how many failed.
    pub unwrap_failures: u64,
}

impl Roots {
    /// These roots, the preferred first. Their names differ.
    #[must_use]
    pub fn new(roots: Vec<Arc<dyn Root>>) -> Self {
        let member = |root: Arc<dyn Root>| Member {
            name: root.describe().name,
            root,
            unwraps: AtomicU64::new(0),
            unwrap_failures: AtomicU64::new(0),
            problem: Mutex::new(None),
        };
        Self(roots.into_iter().map(member).collect())
    }

    /// The names, the preferred first.
    pub fn names(&self) -> impl Iterator<Item = &RootName> {
        self.0.iter().map(|member| &member.name)
    }

    fn listed(&self) -> String {
        self.names().map(RootName::as_str).collect::<Vec<_>>().join(", ")
    }

    /// How each root is.
    #[must_use]
    pub fn status(&self) -> Vec<RootStatus> {
        self.0.iter().map(Member::status).collect()
    }

    /// Asks each root whether this process can use it: what an operator should know of it, or why not.
    pub async fn check(
        &self,
        domain: &str,
    ) -> Vec<(RootDescription, Result<Vec<String>, RootError>)> {
        let checks = self
            .0
            .iter()
            .map(|member| async move { (member.root.describe(), member.root.check(domain).await) });
        join_all(checks).await
    }

    /// The secret of these wrappings, from the first root that gives it.
    ///
    /// # Errors
    /// What a root refused for, if one did; else what kept the last one from answering;
    /// [`KeyringError::NotWrapped`] or [`KeyringError::WrappedElsewhere`] if no root of this sidecar wrapped it.
    pub async fn unwrap_key(
        &self,
        wrappings: &[Wrapping],
        binding: Binding<'_>,
    ) -> Result<KeyVersionSecret, KeyringError> {
        let mut failure = None;
        for member in &self.0 {
            let Some(wrapping) = wrappings.iter().find(|wrapping| wrapping.root == member.name)
            else {
                continue;
            };
            match member.unwrap_key(&wrapping.wrapped, binding).await {
                Ok(secret) => return Ok(secret),
                Err(error @ (RootError::Memory(_) | RootError::Random)) => return Err(error.into()),
                Err(error) => failure = Some(worse(failure, error)),
            }
        }
        Err(match failure {
            Some(error) => error,
            None if wrappings.is_empty() => KeyringError::NotWrapped,
            None => KeyringError::WrappedElsewhere { roots: self.listed() },
        })
    }

    /// The secret of `wrapping`, from the root that made it; `None` if this sidecar has no such root.
    ///
    /// # Errors
    /// [`RootError`]: why it does not give it.
    pub async fn unwrap_one(
        &self,
        wrapping: &Wrapping,
        binding: Binding<'_>,
    ) -> Option<Result<KeyVersionSecret, RootError>> {
        let member = self.0.iter().find(|member| member.name == wrapping.root)?;
        Some(member.unwrap_key(&wrapping.wrapped, binding).await)
    }

    /// Asks the roots that come after the first for what they wrapped, so that how they are is known before they are
    /// needed.
    pub async fn ask_others(&self, versions: &[(KeyRef, Vec<Wrapping>)], domain: &str) {
        let asked = self.0.iter().skip(1).map(|member| async move {
            let of_member = |wrapping: &&Wrapping| wrapping.root == member.name;
            let found = versions
                .iter()
                .find_map(|(key, wrappings)| Some((*key, wrappings.iter().find(of_member)?)));
            if let Some((key, wrapping)) = found {
                let _ = member.unwrap_key(&wrapping.wrapped, Binding { key, domain }).await;
            }
        });
        join_all(asked).await;
    }

    /// `secret` wrapped by every root, and proven to unwrap at each.
    ///
    /// # Errors
    /// What the first root that failed said; [`KeyringError::RootLies`] if one gave back other bytes.
    pub async fn wrap(
        &self,
        secret: &KeyVersionSecret,
        binding: Binding<'_>,
    ) -> Result<Vec<Wrapping>, KeyringError> {
        let wrapped = join_all(self.0.iter().map(|member| member.wrap_proven(secret, binding)));
        wrapped.await.into_iter().collect()
    }

    /// `secret` wrapped by one root, and proven to unwrap; `None` if this sidecar has no such root.
    ///
    /// # Errors
    /// As [`Roots::wrap`].
    pub async fn wrap_with(
        &self,
        root: &RootName,
        secret: &KeyVersionSecret,
        binding: Binding<'_>,
    ) -> Option<Result<Wrapping, KeyringError>> {
        let member = self.0.iter().find(|member| member.name == *root)?;
        Some(member.wrap_proven(secret, binding).await)
    }
}

/// What counts of two failures: a refusal, then a root that is away and might open it, then a damaged wrapping.
fn worse(so_far: Option<KeyringError>, error: RootError) -> KeyringError {
    let weight = |error: &KeyringError| match error {
        error if error.may_pass() => 1,
        error if error.says_another_root() => 0,
        _ => 2,
    };
    let error = KeyringError::from(error);
    match so_far {
        Some(known) if weight(&known) >= weight(&error) => known,
        _ => error,
    }
}

impl Member {
    async fn unwrap_key(
        &self,
        wrapped: &WrappedKey,
        binding: Binding<'_>,
    ) -> Result<KeyVersionSecret, RootError> {
        self.unwraps.fetch_add(1, Ordering::Relaxed);
        let unwrapped = self.root.unwrap_key(wrapped, binding).await;
        self.note(unwrapped.as_ref().err());
        if unwrapped.is_err() {
            self.unwrap_failures.fetch_add(1, Ordering::Relaxed);
        }
        unwrapped
    }

    async fn wrap_proven(
        &self,
        secret: &KeyVersionSecret,
        binding: Binding<'_>,
    ) -> Result<Wrapping, KeyringError> {
        let wrapped = self.root.wrap(secret, binding).await;
        self.note(wrapped.as_ref().err());
        let wrapping = Wrapping { root: self.name.clone(), wrapped: wrapped? };
        let given_back = self.unwrap_key(&wrapping.wrapped, binding).await?;
        match given_back.is_same_as(secret) {
            true => Ok(wrapping),
            false => Err(KeyringError::RootLies),
        }
    }

    /// Remembers how the last call ended, and says so when that changed. A wrapping that is not this root's says
    /// nothing of the root.
    fn note(&self, error: Option<&RootError>) {
        if let Some(RootError::Corrupt { .. } | RootError::Memory(_) | RootError::Random) = error {
            return;
        }
        let problem = error.map(|error| error_chain(error));
        let mut known = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*known, &problem) {
            (None, Some(problem)) => {
                tracing::warn!(root = %self.name, problem, "a root does not serve");
            }
            (Some(_), None) => tracing::info!(root = %self.name, "a root serves again"),
            _ => {}
        }
        *known = problem;
    }

    fn status(&self) -> RootStatus {
        RootStatus {
            root: self.root.describe(),
            problem: self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            unwraps: self.unwraps.load(Ordering::Relaxed),
            unwrap_failures: self.unwrap_failures.load(Ordering::Relaxed),
        }
    }
}
