//! Every setting: its name, its default, and what makes its value valid.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::ConfigError;
use crate::names::{CallerName, KeyName};
use crate::policy::{Action, KeyPattern, Rule};
use crate::secret::Protection;

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: ListenSettings,
    /// What keeps two installations on one root apart.
    pub domain: String,
    /// The embedded root.
    pub local_root: LocalRootSettings,
    /// The SQLite file.
    pub sqlite: PathBuf,
    /// The cache and the outage contract.
    pub cache: CacheSettings,
    /// Defaults of keys.
    pub keys: KeySettings,
    /// The least memory protection to start with.
    pub memory_require: Protection,
    /// What a caller may use up.
    pub limits: LimitSettings,
    /// The log.
    pub log: LogSettings,
    /// Who may call.
    pub callers: Vec<CallerSettings>,
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
    /// Whether destruction waits for a second person.
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
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// Bytes of a JSON body, or of a whole message in binary form.
    pub json_body_bytes_max: usize,
    /// Items of a batch.
    pub batch_items_max: usize,
    /// Connections to the data plane, of both kinds together.
    pub connections_max: usize,
    /// Requests in flight; past it: 503 `overloaded`.
    pub in_flight_max: usize,
    /// Bytes of request bodies in memory at once; past it: 503 `overloaded`.
    pub body_memory_bytes_max: usize,
    /// Operations a second for each caller, a batch counting its items; past it: 429.
    pub requests_per_second: u32,
    /// How long a request's head may take.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// How long a request's body may make no progress.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// How long an answer may make no progress because its client does not read.
    #[serde(with = "humantime_serde")]
    pub answer_timeout: Duration,
    /// How long requests in flight may take to end at shutdown.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            json_body_bytes_max: 4 << 20,
            batch_items_max: 1024,
            connections_max: 1024,
            in_flight_max: 512,
            body_memory_bytes_max: 64 << 20,
            requests_per_second: 100_000,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            // Long: who passes an answer on to a slow client reads in large steps and seldom.
            answer_timeout: Duration::from_secs(5 * 60),
            drain_timeout: Duration::from_secs(20),
        }
    }
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

/// `[[callers]]`: one caller, how they prove who they are, and what they may do.
#[derive(Clone, Debug)]
pub struct CallerSettings {
    /// What tells them apart.
    pub credential: Credential,
    /// What they may do.
    pub rule: Rule,
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

/// The configuration as written, before it is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    #[serde(default)]
    listen: RawListen,
    root: RawRoot,
    store: RawStore,
    #[serde(default)]
    cache: CacheSettings,
    #[serde(default)]
    keys: KeySettings,
    #[serde(default)]
    memory: RawMemory,
    #[serde(default)]
    limits: LimitSettings,
    #[serde(default)]
    log: LogSettings,
    #[serde(default)]
    callers: Vec<RawCaller>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawListen {
    tcp: String,
    unix: String,
    unix_mode: String,
    unix_group: Option<String>,
    health: String,
}

impl Default for RawListen {
    fn default() -> Self {
        Self {
            tcp: "127.0.0.1:7480".to_owned(),
            unix: "/run/keypod/keypod.sock".to_owned(),
            unix_mode: "0660".to_owned(),
            unix_group: None,
            health: "127.0.0.1:7481".to_owned(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRoot {
    #[serde(default = "default_domain")]
    domain: String,
    local: RawLocalRoot,
}

fn default_domain() -> String {
    "default".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLocalRoot {
    key_file: Option<PathBuf>,
    passphrase_file: Option<PathBuf>,
    salt_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStore {
    sqlite: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawMemory {
    require: RawProtection,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawProtection {
    #[default]
    Heap,
    Mlock,
    Secretmem,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCaller {
    name: String,
    token_file: Option<PathBuf>,
    uid: Option<u32>,
    gid: Option<u32>,
    operations: Vec<Action>,
    #[serde(default)]
    keys: Vec<String>,
}

fn names<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<KeyName>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
}

/// A value that parsed and is not usable.
pub(super) struct Problem {
    setting: String,
    problem: String,
}

impl Problem {
    fn new(setting: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { setting: setting.into(), problem: problem.into() }
    }

    pub(super) fn in_place(self, place: &str) -> ConfigError {
        let Self { setting, problem } = self;
        ConfigError::Invalid { setting, place: place.to_owned(), problem }
    }
}

impl RawConfig {
    /// Checks what types alone cannot, and gives the typed configuration.
    pub(super) fn check(self) -> Result<Config, Problem> {
        let domain_is_plain = |byte: u8| byte.is_ascii_graphic();
        if self.root.domain.is_empty()
            || self.root.domain.len() > 128
            || !self.root.domain.bytes().all(domain_is_plain)
        {
            return Err(Problem::new("root.domain", "1 to 128 printable ASCII characters"));
        }
        check_limits(&self.limits)?;
        check_bounds(&self.cache)?;
        Ok(Config {
            listen: self.listen.check()?,
            domain: self.root.domain,
            local_root: self.root.local.check()?,
            sqlite: self.store.sqlite,
            cache: self.cache,
            keys: self.keys,
            memory_require: match self.memory.require {
                RawProtection::Heap => Protection::Heap,
                RawProtection::Mlock => Protection::Mlock,
                RawProtection::Secretmem => Protection::Secretmem,
            },
            limits: self.limits,
            log: self.log,
            callers: self
                .callers
                .into_iter()
                .enumerate()
                .map(|(index, caller)| caller.check(index))
                .collect::<Result<_, _>>()?,
        })
    }
}

fn check_limits(limits: &LimitSettings) -> Result<(), Problem> {
    let sizes = [
        ("limits.json_body_bytes_max", limits.json_body_bytes_max),
        ("limits.batch_items_max", limits.batch_items_max),
        ("limits.connections_max", limits.connections_max),
        ("limits.in_flight_max", limits.in_flight_max),
        ("limits.requests_per_second", limits.requests_per_second as usize),
    ];
    for (setting, size) in sizes {
        if size == 0 {
            return Err(Problem::new(setting, "at least 1"));
        }
    }
    let room = limits.body_memory_bytes_max;
    if room < limits.json_body_bytes_max || u32::try_from(room).is_err() {
        return Err(Problem::new(
            "limits.body_memory_bytes_max",
            "at least limits.json_body_bytes_max, and less than 4 GiB",
        ));
    }
    Ok(())
}

fn check_bounds(cache: &CacheSettings) -> Result<(), Problem> {
    let recheck = cache.refresh_after.max(cache.root_recheck);
    for (setting, bound) in [
        ("cache.encrypt_stale_max", cache.encrypt_stale_max),
        ("cache.decrypt_stale_max", cache.decrypt_stale_max),
    ] {
        if bound <= recheck {
            return Err(Problem::new(
                setting,
                "longer than cache.refresh_after and cache.root_recheck, or keys go stale between two looks",
            ));
        }
    }
    Ok(())
}

impl RawListen {
    fn check(self) -> Result<ListenSettings, Problem> {
        let tcp = address("listen.tcp", &self.tcp)?;
        if tcp.is_some_and(|address| !address.ip().is_loopback()) {
            return Err(Problem::new(
                "listen.tcp",
                "the data plane listens on loopback only: use 127.0.0.1:PORT or [::1]:PORT, or \"off\"",
            ));
        }
        let unix = match self.unix.as_str() {
            "off" => None,
            path => Some(UnixListen {
                path: path.into(),
                mode: mode(&self.unix_mode)?,
                group: self.unix_group,
            }),
        };
        if tcp.is_none() && unix.is_none() {
            return Err(Problem::new(
                "listen.tcp",
                "listen.tcp and listen.unix cannot both be off",
            ));
        }
        Ok(ListenSettings { tcp, unix, health: address("listen.health", &self.health)? })
    }
}

fn address(setting: &str, text: &str) -> Result<Option<SocketAddr>, Problem> {
    if text == "off" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        Problem::new(setting, "an IP address and a port, such as 127.0.0.1:7480, or \"off\"")
    })
}

fn mode(text: &str) -> Result<u32, Problem> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode & !0o770 == 0 => Ok(mode),
        _ => Err(Problem::new(
            "listen.unix_mode",
            "an octal mode without rights for others, such as \"0660\"",
        )),
    }
}

impl RawLocalRoot {
    fn check(self) -> Result<LocalRootSettings, Problem> {
        match (self.key_file, self.passphrase_file, self.salt_file) {
            (Some(key_file), None, None) => Ok(LocalRootSettings::KeyFile(key_file)),
            (None, Some(passphrase_file), Some(salt_file)) => {
                Ok(LocalRootSettings::Passphrase { passphrase_file, salt_file })
            }
            _ => Err(Problem::new(
                "root.local",
                "either key_file, or passphrase_file together with salt_file",
            )),
        }
    }
}

impl RawCaller {
    fn check(self, index: usize) -> Result<CallerSettings, Problem> {
        let at = |name: &str| format!("callers.{index}.{name}");
        let caller: CallerName =
            self.name.parse().map_err(|error| Problem::new(at("name"), format!("{error}")))?;
        let credential = match (self.token_file, self.uid, self.gid) {
            (Some(path), None, None) => Credential::TokenFile(path),
            (None, Some(uid), gid) => Credential::Peer { uid, gid },
            _ => {
                let problem = "a caller has either a token_file, or a uid and perhaps a gid";
                return Err(Problem::new(at("token_file"), problem));
            }
        };
        let pattern = |text: &String| {
            KeyPattern::parse(text).ok_or_else(|| {
                Problem::new(at("keys"), "key names, or prefixes that end in one `*`")
            })
        };
        let keys = self.keys.iter().map(pattern).collect::<Result<_, _>>()?;
        Ok(CallerSettings { credential, rule: Rule { caller, actions: self.operations, keys } })
    }
}
