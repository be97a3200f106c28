//! `[[audit.witnesses]]` as written, and what makes it valid.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::Problem;
use crate::witness::CosignatureKey;
use crate::witness::client::{WitnessClient, WitnessSettings};

/// More witnesses than this would make each stop long.
pub(super) const WITNESSES_MAX: usize = 8;
/// For one try of a request.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWitness {
    url: String,
    key: String,
    socket: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

impl RawWitness {
    pub(super) fn check(self, index: usize) -> Result<WitnessSettings, Problem> {
        let at = |name: &str| format!("audit.witnesses.{index}.{name}");
        let key = CosignatureKey::parse(&self.key)
            .map_err(|error| Problem::new(at("key"), format!("{error}")))?;
        let settings = WitnessSettings {
            url: self.url,
            socket: self.socket,
            key,
            // Read when the witness is made.
            ca_file: None,
            attempt_timeout: ATTEMPT_TIMEOUT,
        };
        WitnessClient::new(settings.clone())
            .map_err(|error| Problem::new(at("url"), format!("{error}")))?;
        Ok(WitnessSettings { ca_file: self.ca_file, ..settings })
    }
}
