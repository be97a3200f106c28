//! Callers by signed tokens: Kubernetes service accounts and people with OIDC.

use std::sync::Arc;

use crate::clock::Now;
use crate::policy::Identity;

/// Whose a signed token is.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Who.
    pub identity: Arc<Identity>,
    /// Whether it says that a second factor was used.
    pub mfa: bool,
}

/// A token that proves nothing now. Why is for the log, never for the answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NotVerified {
    /// What was wrong. It repeats nothing of the token.
    pub reason: String,
}

/// Every issuer whose tokens are taken.
#[derive(Debug, Default)]
pub struct Issuers;

impl Issuers {
    /// Whose `token` is, if that was found out before and still holds: no signature is checked again.
    #[must_use]
    pub fn remembered(&self, _token: &[u8], _now: Now) -> Option<Verified> {
        None
    }

    /// Whose `token` is.
    ///
    /// # Errors
    /// [`NotVerified`].
    pub async fn verify(&self, _token: &[u8], _now: Now) -> Result<Verified, NotVerified> {
        Err(NotVerified { reason: "there is no issuer".to_owned() })
    }
}
