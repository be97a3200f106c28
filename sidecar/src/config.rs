//! Turns text into a typed [`Config`]; the only reader of the environment.
//!
//! One TOML file, with every setting also as `KEYPOD_SECTION__NAME` in the environment (the environment wins).
//! Secrets never stand in either: a setting names the file that holds one. Depends on [`crate::names`],
//! [`crate::policy`], [`crate::secret::Protection`] and the settings of roots, stores and issuers for the types it parses into. Parsing takes the text and
//! the variables as arguments, so tests touch neither a disk nor the real environment.

mod environment;
mod parse;
mod raw;
mod settings;

pub use environment::ClientEnvironment;
pub use settings::{
    CacheSettings, CallerSettings, Config, Credential, EmergencySettings, KeySettings,
    LimitSettings, ListenSettings, LocalRootSettings, LogFormat, LogSettings, PolicySettings,
    RootKind, RootSettings, StoreSettings, UnixListen,
};

use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Format, Toml};

/// Where `keypod serve` looks for its configuration.
pub const DEFAULT_PATH: &str = "/etc/keypod/keypod.toml";

/// Why there is no valid configuration. Each says which setting and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: name another with --config", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is no such setting.
    #[error("unknown setting `{setting}` in {place}{}", nearest.as_ref().map(|name| format!(": did you mean `{name}`?")).unwrap_or_default())]
    Unknown {
        /// The dotted path as written.
        setting: String,
        /// The file or the environment variable's kind.
        place: String,
        /// The nearest setting that exists.
        nearest: Option<String>,
    },
    /// The setting is there but its value is not usable.
    #[error("setting `{setting}` in {place}: {problem}")]
    Invalid {
        /// The dotted path.
        setting: String,
        /// The file or the environment.
        place: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

impl Config {
    /// Reads `path` and the process's environment.
    ///
    /// # Errors
    /// [`ConfigError`], naming the setting.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&text, &path.display().to_string(), environment::read())
    }

    /// Parses `text`, called `place` in errors, under these environment variables.
    ///
    /// # Errors
    /// [`ConfigError`], naming the setting.
    pub fn parse(
        text: &str,
        place: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let variables = environment::Variables::new(variables);
        let figment = Figment::from(Toml::string(text)).merge(&variables);
        // The environment wins, so what it sets is where a bad value comes from.
        let place_of = |setting: &str| {
            if variables.set(setting) { "the environment".to_owned() } else { place.to_owned() }
        };
        let raw: raw::RawConfig =
            figment.extract().map_err(|error| parse::explain(error, place_of))?;
        raw.check().map_err(|problem| problem.in_place(place_of))
    }
}

#[cfg(test)]
mod tests;
