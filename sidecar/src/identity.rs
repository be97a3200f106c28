//! Tells from a signed token who is calling: service accounts of Kubernetes, and people of OIDC providers.
//!
//! Depends on [`crate::policy`] for what a caller is, [`crate::clock`], [`crate::names`], and [`crate::root`] and
//! [`crate::secret`] for small things. It decides nothing about what a caller may do, and makes no
//! [`crate::policy::Caller`]: `http::caller` does, of what is [`Proven`] here.
//!
//! A token is taken apart (`token`), its claims are held against the configuration and the clock (`claims`), then its
//! signature against the issuer's keys (`keys`, `issuer_keys`) or the API server's word (`review`), and only then does
//! it say who it is for (`kubernetes`, `oidc`). What was good is remembered for a while (`remembered`).
//!
//! Invariants, each with its test: the header of a token chooses no algorithm (`an_algorithm_is_the_keys_and_never_the_tokens`);
//! garbage makes no storm of requests (`unknown_key_ids_make_no_storm_of_fetches`); nothing of a token is in the log
//! (`every_forged_token_gets_what_a_stranger_gets`); what cannot be checked is refused (`nothing_is_taken_without_keys`).

mod claims;
mod error;
mod fetch;
mod issuer_keys;
mod json;
mod keys;
mod kubernetes;
mod oidc;
mod provider;
mod remembered;
mod review;
mod settings;
#[cfg(test)]
mod tests;
mod token;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;

use crate::clock::Now;
use crate::policy::Identity;

pub use error::{FetchError, IdentityError};
pub use issuer_keys::KeysStatus;
pub use keys::ALGORITHMS;
pub use provider::{ProviderStatus, TokenCounts};
pub use settings::{
    Algorithm, Endpoint, IdentitySettings, KeyPlace, KubernetesCheck, KubernetesSettings,
    OidcSettings, PodUid,
};
pub use token::TOKEN_BYTES_MAX;

use error::Refusal;
use provider::Provider;
use remembered::{Known, Remembered, TokenDigest};
use token::Token;

/// The name of the cluster's own issuer, in metrics and the status. No OIDC provider has it.
pub const KUBERNETES: &str = "kubernetes";

/// Who a token is for, once it was checked.
#[derive(Clone, Debug)]
pub struct Proven {
    /// Who.
    pub identity: Arc<Identity>,
    /// Whether the issuer says that a second factor was used.
    pub mfa: bool,
}

/// Every issuer whose tokens are taken, and the tokens that were.
#[derive(Debug)]
pub struct Issuers {
    providers: Vec<Provider>,
    remembered: Remembered,
    /// Tokens of nobody's.
    strangers: AtomicU64,
}

impl Issuers {
    /// The issuers of `settings`. Reads their files and asks nobody: see [`Issuers::keep_fresh`].
    ///
    /// # Errors
    /// [`IdentityError`], naming the issuer and the file.
    pub fn open(settings: &IdentitySettings) -> Result<Self, IdentityError> {
        let times = (settings.refresh_after, settings.stale_max);
        let mut providers = Vec::new();
        if let Some(kubernetes) = &settings.kubernetes {
            providers.push(Provider::kubernetes(kubernetes, times)?);
        }
        for oidc in &settings.oidc {
            providers.push(Provider::oidc(oidc, times)?);
        }
        Ok(Self { providers, remembered: Remembered::new(), strangers: AtomicU64::new(0) })
    }

    /// Whether `text` could be a token of one of them: any other text is not worth a look.
    #[must_use]
    pub fn could_be_a_token(&self, text: &[u8]) -> bool {
        !self.providers.is_empty() && token::has_shape(text)
    }

    /// Who the token `text` is for; `digest` is its SHA-256. Nothing is told about one that is not taken, but to the
    /// debug log.
    pub async fn authenticate(&self, text: &str, digest: TokenDigest, now: Now) -> Option<Proven> {
        if let Some(proven) = self.recall(&digest, now) {
            return Some(proven);
        }
        match self.judge(text, digest, now).await {
            Ok(proven) => Some(proven),
            Err((provider, refusal)) => {
                let counted = provider.map_or(&self.strangers, |provider| &provider.counts.refused);
                counted.fetch_add(1, Ordering::Relaxed);
                let provider = provider.map_or("none", |provider| provider.name.as_str());
                tracing::debug!(provider, reason = refusal.as_str(), "a signed token was refused");
                None
            }
        }
    }

    fn recall(&self, digest: &TokenDigest, now: Now) -> Option<Proven> {
        let known = self.remembered.get(digest, now, |place| self.generation(place, now))?;
        if let Some(provider) = self.providers.get(known.provider) {
            provider.counts.remembered.fetch_add(1, Ordering::Relaxed);
        }
        Some(known.proven.clone())
    }

    /// Looks at the whole of a token that is not remembered, and remembers it. Or why not, and whose it claims to be.
    async fn judge(
        &self,
        text: &str,
        digest: TokenDigest,
        now: Now,
    ) -> Result<Proven, (Option<&Provider>, Refusal)> {
        let token = Token::parse(text).map_err(|refusal| (None, refusal))?;
        let mut providers = self.providers.iter().enumerate();
        let found = providers.find(|(_, provider)| provider.issuer == token.claims.iss);
        let (place, provider) = found.ok_or((None, Refusal::Issuer))?;
        let checked = provider.check(text, &digest, &token, now).await;
        let checked = checked.map_err(|refusal| (Some(provider), refusal))?;
        provider.counts.checked.fetch_add(1, Ordering::Relaxed);
        let proven = checked.proven.clone();
        let (generation, until, deadline) = (checked.generation, checked.until, checked.deadline);
        let known = Known { proven: checked.proven, provider: place, generation, until, deadline };
        self.remembered.remember(digest, known);
        Ok(proven)
    }

    fn generation(&self, place: usize, now: Now) -> Option<u64> {
        self.providers.get(place)?.generation(now)
    }

    /// Asks issuers for their keys where it is time to. Called at start and then on a timer; each is asked beside the
    /// others, for a few seconds at most.
    pub async fn keep_fresh(&self, now: Now) {
        let generations = || -> Vec<_> {
            self.providers.iter().map(|provider| provider.generation(now)).collect()
        };
        let before = generations();
        join_all(self.providers.iter().map(|provider| provider.keep_fresh(now))).await;
        if before != generations() {
            // They are refused already, each for its keys: here their memory is given back.
            self.remembered.clear();
        }
    }

    /// Asks every issuer once more, the API server too: for a check of the configuration.
    pub async fn check(&self, now: Now) {
        join_all(self.providers.iter().map(|provider| provider.try_out(now))).await;
    }

    /// How the issuers are.
    #[must_use]
    pub fn status(&self, now: Now) -> Vec<ProviderStatus> {
        self.providers.iter().map(|provider| provider.status(now)).collect()
    }

    /// Tokens that are remembered, and bytes that they take, about.
    #[must_use]
    pub fn remembered(&self) -> (usize, u64) {
        self.remembered.size()
    }

    /// Tokens that were refused before an issuer was found for them.
    #[must_use]
    pub fn strangers(&self) -> u64 {
        self.strangers.load(Ordering::Relaxed)
    }
}
