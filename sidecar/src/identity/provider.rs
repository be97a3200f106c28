//! One issuer: what its tokens must say, how their signatures are checked, and who they are for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::error::{FetchError, IdentityError, Refusal};
use super::issuer_keys::{IssuerKeys, KeysStatus};
use super::remembered::TokenDigest;
use super::review::{Expected, Reviewer};
use super::settings::{Endpoint, KeyPlace, KubernetesCheck, KubernetesSettings, OidcSettings};
use super::token::{Claims, Token};
use super::{KUBERNETES, Proven, claims, kubernetes, oidc};
use crate::clock::{Now, UnixSeconds};

/// The API server's word is taken for this long.
const REVIEW_MAX: Duration = Duration::from_secs(60);
/// After how long keys are fetched again, and how long they are used.
type Times = (Duration, Duration);

/// One issuer.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) name: String,
    pub(super) issuer: String,
    audience: String,
    subjects: Subjects,
    check: Check,
    pub(super) counts: Counts,
}

/// Who its tokens are for.
#[derive(Debug)]
enum Subjects {
    ServiceAccounts { pod_uid: Option<String> },
    People(OidcSettings),
}

#[derive(Debug)]
enum Check {
    Keys(Arc<IssuerKeys>),
    Review(Arc<Reviewer>),
}

/// Tokens of one issuer.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) checked: AtomicU64,
    pub(super) remembered: AtomicU64,
    pub(super) refused: AtomicU64,
}

/// A good token, and how long it may be remembered.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) proven: Proven,
    pub(super) generation: u64,
    pub(super) until: UnixSeconds,
    pub(super) deadline: Instant,
}

/// How one issuer is.
#[derive(Clone, Debug)]
pub struct ProviderStatus {
    /// `kubernetes`, or the name of an OIDC provider.
    pub name: String,
    /// As its tokens name it.
    pub issuer: String,
    /// Its keys; none where the API server is asked.
    pub keys: Option<KeysStatus>,
    /// Why it could not be asked the last time.
    pub problem: Option<FetchError>,
    /// How often it was asked for keys or for its word.
    pub asked: u64,
    /// How often that failed.
    pub failures: u64,
    /// Its tokens.
    pub tokens: TokenCounts,
}

/// Tokens of one issuer, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenCounts {
    /// Taken after a look at the signature.
    pub checked: u64,
    /// Taken because they were known.
    pub remembered: u64,
    /// Refused.
    pub refused: u64,
}

impl Provider {
    pub(super) fn kubernetes(
        settings: &KubernetesSettings,
        times: Times,
    ) -> Result<Self, IdentityError> {
        let KubernetesSettings { issuer, audience, algorithms, .. } = settings;
        let check = match &settings.check {
            KubernetesCheck::Keys(place) => {
                let keys = IssuerKeys::new(KUBERNETES, issuer, place, algorithms, times)?;
                Check::Keys(Arc::new(keys))
            }
            KubernetesCheck::TokenReview(endpoint) => {
                Check::Review(Arc::new(Reviewer::new(KUBERNETES, endpoint, audience)?))
            }
        };
        let pod_uid = settings.pod_uid.as_ref();
        let pod_uid = pod_uid.map(|uid| kubernetes::read_pod_uid(KUBERNETES, uid)).transpose()?;
        let subjects = Subjects::ServiceAccounts { pod_uid };
        Ok(Self::new(KUBERNETES, issuer, audience, subjects, check))
    }

    pub(super) fn oidc(settings: &OidcSettings, times: Times) -> Result<Self, IdentityError> {
        let OidcSettings { name, issuer, audience, algorithms, .. } = settings;
        let endpoint = Endpoint {
            address: issuer.clone(),
            ca_file: settings.ca_file.clone(),
            token_file: None,
        };
        let place = KeyPlace::Discovery(endpoint);
        let keys = IssuerKeys::new(name, issuer, &place, algorithms, times)?;
        let subjects = Subjects::People(settings.clone());
        Ok(Self::new(name, issuer, audience, subjects, Check::Keys(Arc::new(keys))))
    }

    fn new(name: &str, issuer: &str, audience: &str, subjects: Subjects, check: Check) -> Self {
        let [name, issuer, audience] = [name, issuer, audience].map(str::to_owned);
        Self { name, issuer, audience, subjects, check, counts: Counts::default() }
    }

    /// Checks all of `token`, whose text is `text` and whose SHA-256 is `digest`. What costs nothing comes first:
    /// garbage has nobody asked.
    pub(super) async fn check(
        &self,
        text: &str,
        digest: &TokenDigest,
        token: &Token<'_>,
        now: Now,
    ) -> Result<Checked, Refusal> {
        let claims = &token.claims;
        claims::check(claims, &self.issuer, &self.audience, now)?;
        let proven = self.subject(claims)?;
        let left = Duration::from_secs(claims.exp.saturating_sub(now.wall.0));
        let (generation, left) = match &self.check {
            Check::Keys(keys) => (keys.verify(token, now).await?, left),
            Check::Review(reviewer) => {
                let pod_uid = match &self.subjects {
                    Subjects::ServiceAccounts { pod_uid } => pod_uid.clone(),
                    Subjects::People(_) => None,
                };
                let expected = Expected { subject: claims.sub.clone(), pod_uid };
                reviewer.verify(text, digest, expected).await?;
                (0, left.min(REVIEW_MAX))
            }
        };
        let until = now.wall.after(left);
        Ok(Checked { proven, generation, until, deadline: now.monotonic + left })
    }

    /// Who the token would be for.
    fn subject(&self, claims: &Claims) -> Result<Proven, Refusal> {
        match &self.subjects {
            Subjects::ServiceAccounts { pod_uid } => {
                kubernetes::service_account(pod_uid.as_deref(), claims)
            }
            Subjects::People(settings) => oidc::person(settings, claims),
        }
    }

    pub(super) fn generation(&self, now: Now) -> Option<u64> {
        match &self.check {
            Check::Keys(keys) => keys.generation(now),
            Check::Review(_) => Some(0),
        }
    }

    pub(super) async fn keep_fresh(&self, now: Now) {
        if let Check::Keys(keys) = &self.check {
            keys.keep_fresh(now).await;
        }
    }

    pub(super) async fn try_out(&self, now: Now) {
        match &self.check {
            Check::Keys(keys) => keys.keep_fresh(now).await,
            Check::Review(reviewer) => reviewer.check().await,
        }
    }

    pub(super) fn status(&self, now: Now) -> ProviderStatus {
        let (keys, problem, (asked, failures)) = match &self.check {
            Check::Keys(keys) => (Some(keys.status(now)), keys.problem(), keys.counts()),
            Check::Review(reviewer) => (None, reviewer.problem(), reviewer.counts()),
        };
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { checked, remembered, refused } = &self.counts;
        ProviderStatus {
            name: self.name.clone(),
            issuer: self.issuer.clone(),
            keys,
            problem,
            asked,
            failures,
            tokens: TokenCounts {
                checked: count(checked),
                remembered: count(remembered),
                refused: count(refused),
            },
        }
    }
}
