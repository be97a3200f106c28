//! Reads `KEYPOD_*` variables: settings for the server, and where a client finds it.
//!
//! A variable with `__` in it is a setting (`KEYPOD_CACHE__IDLE_EVICT` is `cache.idle_evict`). Others that begin
//! with `KEYPOD_` are left alone: Kubernetes makes some for every service of that name.

use std::path::PathBuf;

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

/// Every variable of this process that is valid UTF-8.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub(super) fn read() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Settings from variables, as a layer over the file.
pub(super) struct Variables(Vec<(String, Value)>);

impl Variables {
    pub(super) fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let setting = |(name, value): (String, String)| {
            let path = name.strip_prefix("KEYPOD_")?;
            if !path.contains("__") {
                return None;
            }
            let path = path.to_ascii_lowercase().replace("__", ".");
            // `Value` parses numbers, booleans and lists, and takes anything else as a string.
            let value = match value.parse::<Value>() {
                Ok(value) => value,
                Err(never) => match never {},
            };
            Some((path, value))
        };
        Self(variables.into_iter().filter_map(setting).collect())
    }
}

impl Variables {
    /// Whether a variable sets `path` or something below it.
    pub(super) fn set(&self, path: &str) -> bool {
        let below = |set: &str| {
            set.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.0.iter().any(|(set, _)| below(set))
    }
}

impl Provider for &Variables {
    fn metadata(&self) -> Metadata {
        Metadata::named("the environment")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut figment = figment::Figment::new();
        for (path, value) in &self.0 {
            figment = figment.merge((path.as_str(), value));
        }
        figment.data()
    }
}

/// Where a client finds the sidecar, as the environment says it. Paths only: never a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientEnvironment {
    /// `KEYPOD_SOCKET`: the Unix socket.
    pub socket: Option<PathBuf>,
    /// `KEYPOD_ADDR`: host and port on loopback.
    pub addr: Option<String>,
    /// `KEYPOD_TOKEN_FILE`: the file with the bearer token.
    pub token_file: Option<PathBuf>,
}

impl ClientEnvironment {
    /// Reads the three variables; an empty one counts as unset.
    #[must_use]
    pub fn read() -> Self {
        let mut found = Self::default();
        for (name, value) in read().filter(|(_, value)| !value.is_empty()) {
            match name.as_str() {
                "KEYPOD_SOCKET" => found.socket = Some(value.into()),
                "KEYPOD_ADDR" => found.addr = Some(value),
                "KEYPOD_TOKEN_FILE" => found.token_file = Some(value.into()),
                _ => {}
            }
        }
        found
    }
}
