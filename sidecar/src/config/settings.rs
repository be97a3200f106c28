//! Every setting that there is, valid, with its default.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::audit;
use crate::identity::IdentitySettings;
use crate::limits::{CallerSizes, RateSizes};
use crate::names::{CallerName, KeyName, RootName};
use crate::policy::Grant;
use crate::root::aws_kms::AwsKmsSettings;
use crate::root::vault::VaultSettings;
use crate::secret::Protection;
use crate::sinks::SinkSettings;
use crate::store::postgres::PostgresSettings;
use crate::witness::client::WitnessSettings;

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: ListenSettings,
    /// The roots.
    pub root: RootSettings,
    /// The key store.
    pub store: StoreSettings,
    /// The cache and the outage contract.
    pub cache: CacheSettings,
    /// Defaults of keys.
    pub keys: KeySettings,
    /// The least memory protection to start with.
    pub memory_require: Protection,
    /// What a caller may use up.
    pub limits: LimitSettings,
    /// The audit log.
    pub audit: AuditSettings,
    /// The log.
    pub log: LogSettings,
    /// The policies.
    pub policy: PolicySettings,
    /// Breaking the glass.
    pub emergency: EmergencySettings,
    /// Whose signed tokens are taken.
    pub identity: IdentitySettings,
    /// Who may call.
    pub callers: Vec<CallerSettings>,
}

/// `[audit]`
#[derive(Clone, Debug)]
pub struct AuditSettings {
    /// Where the log is, and how it is written.
    pub log: audit::LogSettings,
    /// Whether the origin was said, and is not that of this machine.
    pub says_origin: bool,
    /// What becomes of an operation that cannot be recorded.
    pub on_failure: audit::OnFailure,
    /// Who cosigns the logs.
    pub witnesses: Vec<WitnessSettings>,
    /// How often they are asked.
    pub witness_every: Duration,
    /// The file of a key that certifies logs when no root does.
    pub authority_key_file: Option<PathBuf>,
    /// Where copies of it go.
    pub sinks: SinkSettings,
}

/// `[listen]`
#[derive(Clone, Debug)]
pub struct ListenSettings {
    /// The data plane on loopback TCP.
    pub tcp: Option<SocketAddr>,
    /// The data plane on a Unix socket.
    pub unix: Option<UnixListen>,
    /// Health and metrics: no keys behind it, so any address.
    pub health: Option<SocketAddr>,
}

/// The Unix socket of the data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixListen {
    /// Where.
    pub path: PathBuf,
    /// Its mode.
    pub mode: u32,
    /// Its group, as a name or a number.
    pub group: Option<String>,
}

/// `[root]`: the roots, and how they are called.
#[derive(Clone, Debug)]
pub struct RootSettings {
    /// What keeps two installations on one root apart.
    pub domain: String,
    /// How long one try of a call may take.
    pub attempt_timeout: Duration,
    /// How long a call may take with all its tries.
    pub call_timeout: Duration,
    /// How long a root that does not answer is left alone before it is tried again.
    pub retry_interval: Duration,
    /// At least one, the preferred first; their names differ.
    pub roots: Vec<RootKind>,
}

/// One root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootKind {
    /// `[[root.aws_kms]]`
    AwsKms(AwsKmsSettings),
    /// `[[root.vault]]`
    Vault(VaultSettings),
    /// `[root.local]`
    Local(LocalRootSettings),
}

impl RootKind {
    /// The name under which it wraps.
    #[must_use]
    pub fn name(&self) -> RootName {
        match self {
            Self::AwsKms(settings) => settings.name.clone(),
            Self::Vault(settings) => settings.name.clone(),
            Self::Local(_) => RootName::local(),
        }
    }
}

/// `[store]`: where the rows are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreSettings {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL database.
    Postgres(PostgresSettings),
}

/// `[root.local]`: how the embedded root's key is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalRootSettings {
    /// 32 bytes in a file.
    KeyFile(PathBuf),
    /// Derived from a passphrase with Argon2id.
    Passphrase {
        /// The file with the passphrase.
        passphrase_file: PathBuf,
        /// The file with the salt and the parameters.
        salt_file: PathBuf,
    },
}

/// `[cache]`: see KEYS.md.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheSettings {
    /// Look at the store's row again after this long.
    #[serde(with = "humantime_serde")]
    pub refresh_after: Duration,
    /// Unwrap again at the root after this long.
    #[serde(with = "humantime_serde")]
    pub root_recheck: Duration,
    /// How long a cached version encrypts while store or root cannot be reached.
    #[serde(with = "humantime_serde")]
    pub encrypt_stale_max: Duration,
    /// How long it decrypts.
    #[serde(with = "humantime_serde")]
    pub decrypt_stale_max: Duration,
    /// Unused versions leave memory after this long.
    #[serde(with = "humantime_serde")]
    pub idle_evict: Duration,
    /// Keys to unwrap before the sidecar is ready.
    #[serde(deserialize_with = "names")]
    pub preload: Vec<KeyName>,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            refresh_after: Duration::from_secs(5 * 60),
            root_recheck: Duration::from_secs(15 * 60),
            encrypt_stale_max: Duration::from_secs(60 * 60),
            decrypt_stale_max: Duration::from_secs(24 * 60 * 60),
            idle_evict: Duration::from_secs(30 * 60),
            preload: Vec::new(),
        }
    }
}

/// `[keys]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeySettings {
    /// Messages that one version may seal, where the key does not say.
    pub messages_max: u64,
    /// Bytes that one version may seal, where the key does not say.
    pub bytes_max: u64,
    /// How long a requested destruction can be taken back.
    #[serde(with = "humantime_serde")]
    pub destroy_delay: Duration,
    /// Whether every destruction waits for a second person: a `forbid` of the policies (`keys.second_person`).
    pub second_person: bool,
    /// How long it waits.
    #[serde(with = "humantime_serde")]
    pub approval_expiry: Duration,
}

impl Default for KeySettings {
    fn default() -> Self {
        Self {
            messages_max: 1 << 32,
            bytes_max: 1 << 50,
            destroy_delay: Duration::from_secs(7 * 24 * 60 * 60),
            second_person: false,
            approval_expiry: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// `[limits]`
#[derive(Clone, Debug)]
pub struct LimitSettings {
    /// Bytes of a JSON body, or of a whole message in binary form.
    pub json_body_bytes_max: usize,
    /// Items of a batch.
    pub batch_items_max: usize,
    /// Connections to the data plane, of each kind.
    pub connections_max: usize,
    /// Of those on the Unix socket, what one user may hold.
    pub user_connections_max: usize,
    /// Requests in flight; past it: 503 `overloaded`.
    pub in_flight_max: usize,
    /// Bytes of request bodies in memory at once; past it: 503 `overloaded`.
    pub body_memory_bytes_max: usize,
    /// Of each caller; past it: 429.
    pub caller: CallerSizes,
    /// Of the callers that have their own.
    pub callers: BTreeMap<CallerName, CallerSizes>,
    /// Of each key, whoever uses it; past it: 429.
    pub key: RateSizes,
    /// Of the keys that have their own.
    pub keys: BTreeMap<KeyName, RateSizes>,
    /// How long a request's head may take.
    pub header_timeout: Duration,
    /// How long a request's body may make no progress.
    pub body_timeout: Duration,
    /// How long an answer may make no progress because its client does not read.
    pub answer_timeout: Duration,
    /// How long requests in flight may take to end at shutdown.
    pub drain_timeout: Duration,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// How lines look.
    pub format: LogFormat,
    /// Which lines: `info`, `keypod=debug`, ...
    pub filter: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Auto, filter: "info".to_owned() }
    }
}

/// `[policy]`: what callers may do, beside what `[[callers]]` grants.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicySettings {
    /// A folder with `*.cedar` files, `entities.toml` and perhaps `context.cedarschema`; read again when it changes.
    pub folder: Option<PathBuf>,
    /// Packs that are built in.
    pub packs: Vec<String>,
}

/// `[emergency]`: breaking the glass.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmergencySettings {
    /// Minutes that one emergency may last.
    pub max_minutes: u32,
}

impl Default for EmergencySettings {
    fn default() -> Self {
        Self { max_minutes: 60 }
    }
}

/// `[[callers]]`: one caller, how they prove who they are, and what they may do.
#[derive(Clone, Debug)]
pub struct CallerSettings {
    /// What tells them apart.
    pub credential: Credential,
    /// What they may do.
    pub grant: Grant,
}

/// How a caller proves who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A bearer token, kept in this file.
    TokenFile(PathBuf),
    /// The uid, and where given the gid, of the peer on the Unix socket.
    Peer {
        /// The user.
        uid: u32,
        /// The group.
        gid: Option<u32>,
    },
}

fn names<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<KeyName>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
}
