//! A log that is to begin: its name, its key, what its certificate will say, and how the log before it was found.

use std::path::Path;
use std::sync::Arc;

use super::bundle;
use super::certificate::{Certificate, Statement};
use super::chain::{self, Chain};
use super::disk::Disk;
use super::error::LogError;
use super::layout::LogName;
use super::note::LogKey;
use super::open_log::Beginning;
use super::receipt::AppendError;
use super::recover::{Found, recover};
use super::settings::LogSettings;
use super::start::{Ended, LogStart, Previous};
use crate::clock::UnixSeconds;

/// A folder with this many logs is to be archived (`docs/audit.md`).
const LOGS_MANY: u64 = 100_000;

/// A log that is to begin, all but its certificate.
#[derive(Debug)]
pub(super) struct Plan {
    name: LogName,
    pub(super) origin: Arc<str>,
    key: LogKey,
    pub(super) statement: Statement,
}

impl Plan {
    pub(super) fn new(
        settings: &LogSettings,
        number: u64,
        time: UnixSeconds,
    ) -> Result<Self, LogError> {
        let mut id = [0; 8];
        getrandom::fill(&mut id).map_err(|_| LogError::NoRandomNumbers)?;
        let name = LogName::new(number, u64::from_be_bytes(id));
        let origin: Arc<str> = format!("{}/{}", settings.origin, name.id()).into();
        let key = LogKey::generate(&origin).map_err(|_| LogError::NoRandomNumbers)?;
        let statement = Statement {
            log: origin.to_string(),
            key: key.verification_key(),
            time,
            number,
            previous: None,
        };
        Ok(Self { name, origin, key, statement })
    }

    pub(super) fn start(&self, certificate: &Certificate, previous: Option<Previous>) -> LogStart {
        LogStart {
            origin: Arc::clone(&self.origin),
            number: self.name.number,
            certificate_sha256: certificate.sha256,
            previous,
        }
    }

    pub(super) fn beginning(self, certificate: Certificate, first: Vec<u8>) -> Beginning {
        let Self { name, origin, key, .. } = self;
        Beginning { name, origin, key, certificate: certificate.note, first }
    }
}

/// An entry of the sidecar itself.
pub(super) fn checked(entry: Vec<u8>) -> Result<Vec<u8>, LogError> {
    let bytes = entry.len();
    if bundle::fits(bytes) {
        Ok(entry)
    } else {
        Err(LogError::Entry(AppendError::TooLong { bytes }))
    }
}

/// Takes the folder, and finds out how the log before ended. Also the number of the next one.
pub(super) fn look(
    disk: Disk,
    settings: &LogSettings,
) -> Result<(Chain, Option<Found>, u64), LogError> {
    let chain = Chain::open(disk, &settings.folder)?;
    let Some(name) = chain::newest(&chain.top)? else { return Ok((chain, None, 1)) };
    if name.number >= LOGS_MANY {
        tracing::warn!(
            logs = name.number,
            "the folder of audit logs has grown long: archive it, and go on with an empty one"
        );
    }
    let found = recover(&chain.disk, &chain.top, name, settings.origin.as_str());
    say(&found, &chain.top.join(name.folder()));
    Ok((chain, Some(found), name.number + 1))
}

fn say(found: &Found, folder: &Path) {
    let (log, folder) = (found.origin.as_str(), folder.display());
    if found.torn_bytes > 0 {
        let bytes = found.torn_bytes;
        tracing::warn!(
            log,
            bytes,
            "the audit log before ends with a torn entry, never committed: it is cut off"
        );
    }
    match found.ended {
        Ended::Clean => {}
        Ended::Unclean { vouched_for } => {
            tracing::warn!(
                log,
                entries = found.size,
                vouched_for,
                "the audit log before was not closed"
            );
        }
        Ended::Damaged(damage) => tracing::error!(
            alert = "audit_tampered",
            log,
            %folder,
            ?damage,
            entries = found.size,
            checkpoint = found.checkpoint_size,
            "the audit log before is not what its sidecar left: run `keypod audit verify`, and keep a copy"
        ),
    }
}
