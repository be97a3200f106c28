//! The configuration as written, and what makes its values valid.

mod audit;
mod identity;
mod limits;
mod root;
mod sinks;
mod store;
mod witness;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use audit::RawAudit;
use identity::RawIdentity;
use limits::RawLimits;
use root::RawRoot;
use store::RawStore;

use super::ConfigError;
use super::settings::{
    CacheSettings, CallerSettings, Config, Credential, EmergencySettings, KeySettings,
    ListenSettings, LogSettings, PolicySettings, UnixListen,
};
use crate::names::CallerName;
use crate::policy::{self, Action, Grant, KeyPattern};
use crate::secret::Protection;

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
    limits: RawLimits,
    #[serde(default)]
    audit: RawAudit,
    #[serde(default)]
    log: LogSettings,
    #[serde(default)]
    policy: PolicySettings,
    #[serde(default)]
    emergency: EmergencySettings,
    #[serde(default)]
    identity: RawIdentity,
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
    #[serde(default)]
    operations: Vec<Action>,
    #[serde(default)]
    keys: Vec<String>,
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

    pub(super) fn in_place(self, place_of: impl Fn(&str) -> String) -> ConfigError {
        let Self { setting, problem } = self;
        let place = place_of(&setting);
        ConfigError::Invalid { setting, place, problem }
    }
}

impl RawConfig {
    /// Checks what types alone cannot, and gives the typed configuration.
    pub(super) fn check(self) -> Result<Config, Problem> {
        let callers = self.callers.into_iter().enumerate();
        let callers = callers.map(|(index, caller)| caller.check(index));
        let callers = callers.collect::<Result<Vec<_>, _>>()?;
        check_bounds(&self.cache)?;
        check_keys(&self.keys)?;
        Ok(Config {
            listen: self.listen.check()?,
            root: self.root.check(&self.cache)?,
            store: self.store.check()?,
            cache: self.cache,
            keys: self.keys,
            memory_require: match self.memory.require {
                RawProtection::Heap => Protection::Heap,
                RawProtection::Mlock => Protection::Mlock,
                RawProtection::Secretmem => Protection::Secretmem,
            },
            limits: self.limits.check(&callers)?,
            audit: self.audit.check()?,
            log: self.log,
            policy: check_policy(self.policy)?,
            emergency: check_emergency(self.emergency)?,
            identity: self.identity.check()?,
            callers,
        })
    }
}

/// Messages that a version may seal (FORMAT.md's message ids allow more; NIST SP 800-38D counts to this).
const MESSAGES_MAX: u64 = 1 << 32;
/// Bytes that a version may seal.
const BYTES_MAX: u64 = 1 << 50;
/// Minutes of an emergency: what goes on for longer than a day wants a policy.
const EMERGENCY_MINUTES_MAX: u32 = 24 * 60;
/// No time of the configuration is longer.
const YEARS_TEN: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

fn check_policy(policy: PolicySettings) -> Result<PolicySettings, Problem> {
    match policy.packs.iter().find(|name| policy::pack(name).is_none()) {
        None => Ok(policy),
        Some(_) => Err(Problem::new("policy.packs", format!("some of {}", policy::pack_names()))),
    }
}

fn check_emergency(emergency: EmergencySettings) -> Result<EmergencySettings, Problem> {
    match emergency.max_minutes {
        1..=EMERGENCY_MINUTES_MAX => Ok(emergency),
        _ => Err(Problem::new("emergency.max_minutes", "from 1 to 1440, which is a day")),
    }
}

fn check_keys(keys: &KeySettings) -> Result<(), Problem> {
    for (setting, limit, most) in [
        ("keys.messages_max", keys.messages_max, MESSAGES_MAX),
        ("keys.bytes_max", keys.bytes_max, BYTES_MAX),
    ] {
        if !(1..=most).contains(&limit) {
            return Err(Problem::new(setting, format!("from 1 to {most}")));
        }
    }
    check_times(&[("keys.approval_expiry", keys.approval_expiry)])?;
    match keys.destroy_delay {
        delay if delay > YEARS_TEN => Err(Problem::new("keys.destroy_delay", "at most ten years")),
        _ => Ok(()),
    }
}

/// Refuses a time of nothing, and one that no clock gets to the end of.
fn check_times(times: &[(&str, Duration)]) -> Result<(), Problem> {
    for (setting, time) in times {
        if time.is_zero() || *time > YEARS_TEN {
            return Err(Problem::new(*setting, "longer than nothing and at most ten years"));
        }
    }
    Ok(())
}

fn check_bounds(cache: &CacheSettings) -> Result<(), Problem> {
    check_times(&[
        ("cache.refresh_after", cache.refresh_after),
        ("cache.root_recheck", cache.root_recheck),
        ("cache.encrypt_stale_max", cache.encrypt_stale_max),
        ("cache.decrypt_stale_max", cache.decrypt_stale_max),
        ("cache.idle_evict", cache.idle_evict),
    ])?;
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

impl RawCaller {
    fn check(self, index: usize) -> Result<CallerSettings, Problem> {
        let at = |name: &str| format!("callers.{index}.{name}");
        let caller: CallerName =
            self.name.parse().map_err(|error| Problem::new(at("name"), format!("{error}")))?;
        if self.name.contains(':') {
            let problem = "no colon: names with one are those that an issuer gives";
            return Err(Problem::new(at("name"), problem));
        }
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
        Ok(CallerSettings { credential, grant: Grant { caller, actions: self.operations, keys } })
    }
}
