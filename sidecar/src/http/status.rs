//! `GET /v1/status`: what an operator asks first.

use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::Answer;
use super::error::Failure;
use super::{Api, Call, json};
use crate::audit::{Attempt, LogStatus};
use crate::clock::Now;
use crate::identity::{Issuers, ProviderStatus};
use crate::keyring::{CachedKeyStatus, KeyringStatus, RootStatus};
use crate::policy::Policies;
use crate::service::Status;

/// The sidecar at one moment.
#[derive(Serialize, ToSchema)]
pub(super) struct StatusView {
    /// Of Keypod.
    version: &'static str,
    /// RFC 3339, UTC: what the sidecar takes the time to be.
    now: String,
    /// The preferred one first.
    roots: Vec<RootView>,
    store: StoreView,
    policy: PolicyView,
    audit: AuditView,
    /// Callers who have broken the glass at this sidecar.
    emergencies_active: usize,
    /// Whose signed tokens are taken.
    identity: IdentityView,
    memory: MemoryView,
    cache: CacheView,
}

/// A root.
#[derive(Serialize, ToSchema)]
struct RootView {
    name: String,
    kind: &'static str,
    /// Where its key is.
    place: String,
    /// What tells it from another root key of the same name, where it can say.
    fingerprint: Option<String>,
    /// What an operator should know.
    note: Option<&'static str>,
    /// Whether its last call succeeded.
    healthy: bool,
    /// Why not.
    problem: Option<String>,
    unwraps: u64,
    unwrap_failures: u64,
}

/// The key store.
#[derive(Serialize, ToSchema)]
struct StoreView {
    kind: &'static str,
    /// Where the rows are.
    place: String,
    /// Whether it answers and can be written.
    healthy: bool,
    /// What is wrong with it.
    problem: Option<String>,
}

/// The audit log.
#[derive(Serialize, ToSchema)]
struct AuditView {
    /// What the log is called that is written now.
    log: String,
    /// Its number among the logs in its folder.
    number: u64,
    /// Entries in it.
    entries: u64,
    /// Bytes of those.
    bytes: u64,
    /// Entries that the newest checkpoint signs.
    signed: u64,
    /// Entries that wait for the disk.
    waiting: u64,
    /// Entries that did not get into the log, since the start.
    lost: u64,
    /// Whether it can be written.
    healthy: bool,
    /// Why not.
    problem: Option<String>,
}

/// The policies that decide.
#[derive(Serialize, ToSchema)]
struct PolicyView {
    /// SHA-256 over all that the set is made of, in hexadecimal.
    hash: String,
    policies: usize,
    /// Decisions that are remembered.
    remembered: usize,
    /// Bytes that they take, about.
    remembered_bytes: u64,
}

/// The issuers of signed tokens, and the tokens that are remembered.
#[derive(Default, Serialize, ToSchema)]
struct IdentityView {
    issuers: Vec<IssuerView>,
    /// Tokens that are remembered.
    remembered: usize,
    /// Bytes that they take, about.
    remembered_bytes: u64,
}

/// An issuer.
#[derive(Serialize, ToSchema)]
struct IssuerView {
    /// `kubernetes`, or the name of an OIDC provider.
    name: String,
    issuer: String,
    /// Whether its tokens can be checked now.
    usable: bool,
    /// Keys of it that can check a signature; `null` where the API server is asked.
    keys: Option<usize>,
    /// Since it last confirmed its keys.
    keys_age_s: Option<u64>,
    /// Why it could not be asked the last time.
    problem: Option<String>,
}

/// How key bytes are protected.
#[derive(Serialize, ToSchema)]
struct MemoryView {
    /// `secretmem`, `mlock` or `heap`.
    protection: &'static str,
}

/// The cache of key versions.
#[derive(Serialize, ToSchema)]
struct CacheView {
    hits: u64,
    misses: u64,
    unwraps: u64,
    unwrap_failures: u64,
    lookups: u64,
    lookup_failures: u64,
    evictions: u64,
    versions: Vec<CachedView>,
}

/// One cached version: how old it is and when it stops.
#[derive(Serialize, ToSchema)]
struct CachedView {
    key: String,
    version: u32,
    /// Since the store last confirmed its row.
    row_age_s: u64,
    /// Since the root last unwrapped it.
    unwrap_age_s: u64,
    /// Until it stops encrypting, if nothing confirms it before.
    encrypts_for_s: u64,
    /// Until it stops decrypting, likewise.
    decrypts_for_s: u64,
}

pub(super) async fn status(
    api: &Api,
    call: Call,
    attempt: &mut Attempt,
) -> Result<Answer, Failure> {
    call.refuse_query()?;
    let (status, receipt) = api.service.status(attempt).await?.into_parts();
    let identity = api.callers.issuers().map(|issuers| IdentityView::of(issuers, status.now));
    let view = StatusView::of(status, identity.unwrap_or_default());
    Ok(json::answer(&receipt, StatusCode::OK, &view))
}

impl StatusView {
    fn of(status: Status, identity: IdentityView) -> Self {
        let problem = status.store.err().map(|error| error.to_string());
        let keyring = status.keyring;
        Self {
            version: env!("CARGO_PKG_VERSION"),
            now: status.now.wall.to_string(),
            roots: keyring.roots.iter().map(RootView::of).collect(),
            store: StoreView {
                kind: keyring.store,
                place: keyring.place.clone(),
                healthy: problem.is_none(),
                problem,
            },
            policy: PolicyView::of(&status.policies),
            audit: AuditView::of(status.audit),
            emergencies_active: status.emergencies,
            identity,
            memory: MemoryView { protection: keyring.protection.as_str() },
            cache: CacheView::of(&keyring),
        }
    }
}

impl RootView {
    fn of(status: &RootStatus) -> Self {
        let RootStatus { root, problem, unwraps, unwrap_failures } = status.clone();
        Self {
            name: root.name.to_string(),
            kind: root.kind,
            place: root.place,
            fingerprint: root.fingerprint,
            note: root.note,
            healthy: problem.is_none(),
            problem,
            unwraps,
            unwrap_failures,
        }
    }
}

impl AuditView {
    fn of(status: LogStatus) -> Self {
        Self {
            log: status.origin.to_string(),
            number: status.number,
            entries: status.size,
            bytes: status.bytes,
            signed: status.checkpoint_size,
            waiting: status.queued as u64,
            lost: status.lost,
            healthy: status.failing.is_none(),
            problem: status.failing.map(|problem| problem.to_string()),
        }
    }
}

impl PolicyView {
    fn of(policies: &Policies) -> Self {
        let (remembered, remembered_bytes) = policies.remembered();
        let (hash, policies) = (policies.hash_text(), policies.count());
        Self { hash, policies, remembered, remembered_bytes }
    }
}

impl IdentityView {
    fn of(issuers: &Issuers, now: Now) -> Self {
        let (remembered, remembered_bytes) = issuers.remembered();
        let issuers = issuers.status(now).into_iter().map(IssuerView::of).collect();
        Self { issuers, remembered, remembered_bytes }
    }
}

impl IssuerView {
    fn of(status: ProviderStatus) -> Self {
        let keys = status.keys.as_ref();
        Self {
            name: status.name,
            issuer: status.issuer,
            usable: keys.map_or(status.problem.is_none(), |keys| keys.usable),
            keys: keys.map(|keys| keys.keys),
            keys_age_s: keys.and_then(|keys| keys.age).map(|age| age.as_secs()),
            problem: status.problem.map(|problem| problem.to_string()),
        }
    }
}

impl CacheView {
    fn of(keyring: &KeyringStatus) -> Self {
        Self {
            hits: keyring.hits,
            misses: keyring.misses,
            unwraps: keyring.unwraps,
            unwrap_failures: keyring.unwrap_failures,
            lookups: keyring.lookups,
            lookup_failures: keyring.lookup_failures,
            evictions: keyring.evictions,
            versions: keyring.cached.iter().map(CachedView::of).collect(),
        }
    }
}

impl CachedView {
    fn of(cached: &CachedKeyStatus) -> Self {
        Self {
            key: cached.name.to_string(),
            version: cached.version.number(),
            row_age_s: cached.row_age.as_secs(),
            unwrap_age_s: cached.unwrap_age.as_secs(),
            encrypts_for_s: cached.encrypts_for.as_secs(),
            decrypts_for_s: cached.decrypts_for.as_secs(),
        }
    }
}
