//! `[audit]` as written, and what makes it valid.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::sinks::{RawOtlp, RawSyslog};
use super::witness::{RawWitness, WITNESSES_MAX};
use super::{Problem, check_times};
use crate::audit::{Durability, LogSettings, OnFailure, Origin};
use crate::config::settings::AuditSettings;
use crate::sinks::SinkSettings;

/// Less than this would be a new log, and a call to the root, every few seconds under load.
const ROTATE_BYTES_MIN: u64 = 1 << 20;
const ROTATE_AFTER_MIN: Duration = Duration::from_secs(60);
/// An append that nobody can wait for is as good as a refusal, and a client does not wait for ever.
const COMMIT_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// What a crash could leave unsigned must stay small.
const CHECKPOINT_EVERY_MAX: Duration = Duration::from_secs(60 * 60);
/// Entries that wait take memory.
const QUEUE_MAX: usize = 1 << 20;
/// Room for the longest entry and some more, and at most what a small container has.
const SINK_BACKLOG_BYTES_MIN: usize = 1 << 20;
const SINK_BACKLOG_BYTES_MAX: usize = 1 << 30;
/// 45 CFR 164.316(b)(2)(i).
const SIX_YEARS: Duration = Duration::from_secs(6 * 366 * 24 * 60 * 60);

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawAudit {
    folder: PathBuf,
    origin: Option<String>,
    authority_key_file: Option<PathBuf>,
    durability: Durability,
    on_failure: OnFailure,
    #[serde(with = "humantime_serde")]
    commit_timeout: Duration,
    #[serde(with = "humantime_serde")]
    checkpoint_every: Duration,
    queue_max: usize,
    rotate_bytes: u64,
    #[serde(with = "humantime_serde")]
    rotate_after: Duration,
    #[serde(with = "humantime_serde")]
    retention: Duration,
    witnesses: Vec<RawWitness>,
    #[serde(with = "humantime_serde")]
    witness_every: Duration,
    stdout: bool,
    sink_backlog_bytes_max: usize,
    syslog: Option<RawSyslog>,
    otlp: Option<RawOtlp>,
}

impl Default for RawAudit {
    fn default() -> Self {
        Self {
            folder: "/var/lib/keypod/audit".into(),
            origin: None,
            authority_key_file: None,
            durability: Durability::Group,
            on_failure: OnFailure::Refuse,
            commit_timeout: Duration::from_secs(2),
            checkpoint_every: Duration::from_secs(1),
            queue_max: 8192,
            rotate_bytes: 1 << 30,
            rotate_after: Duration::from_secs(7 * 24 * 60 * 60),
            retention: SIX_YEARS,
            witnesses: Vec::new(),
            witness_every: Duration::from_secs(10),
            stdout: false,
            sink_backlog_bytes_max: 16 << 20,
            syslog: None,
            otlp: None,
        }
    }
}

impl RawAudit {
    pub(super) fn check(self) -> Result<AuditSettings, Problem> {
        check_times(&[
            ("audit.commit_timeout", self.commit_timeout),
            ("audit.checkpoint_every", self.checkpoint_every),
            ("audit.rotate_after", self.rotate_after),
            ("audit.retention", self.retention),
            ("audit.witness_every", self.witness_every),
        ])?;
        if self.commit_timeout > COMMIT_TIMEOUT_MAX {
            return Err(Problem::new("audit.commit_timeout", "at most a minute"));
        }
        if self.checkpoint_every > CHECKPOINT_EVERY_MAX {
            return Err(Problem::new("audit.checkpoint_every", "at most an hour"));
        }
        if !(1..=QUEUE_MAX).contains(&self.queue_max) {
            return Err(Problem::new("audit.queue_max", format!("from 1 to {QUEUE_MAX}")));
        }
        if self.rotate_bytes < ROTATE_BYTES_MIN {
            return Err(Problem::new("audit.rotate_bytes", "at least 1048576, which is 1 MiB"));
        }
        if self.rotate_after < ROTATE_AFTER_MIN {
            return Err(Problem::new("audit.rotate_after", "at least a minute"));
        }
        let says_origin = self.origin.is_some();
        let origin = self.origin.unwrap_or_else(of_this_machine);
        let origin: Origin =
            origin.parse().map_err(|error| Problem::new("audit.origin", format!("{error}")))?;
        if !(SINK_BACKLOG_BYTES_MIN..=SINK_BACKLOG_BYTES_MAX).contains(&self.sink_backlog_bytes_max)
        {
            let problem = format!("from {SINK_BACKLOG_BYTES_MIN} to {SINK_BACKLOG_BYTES_MAX}");
            return Err(Problem::new("audit.sink_backlog_bytes_max", problem));
        }
        let sinks = SinkSettings {
            backlog_bytes_max: self.sink_backlog_bytes_max,
            instance: origin.to_string(),
            stdout: self.stdout,
            syslog: self.syslog.map(RawSyslog::check).transpose()?,
            otlp: self.otlp.map(RawOtlp::check).transpose()?,
        };
        let log = LogSettings {
            folder: self.folder,
            origin,
            durability: self.durability,
            commit_timeout: self.commit_timeout,
            checkpoint_every: self.checkpoint_every,
            queue_max: self.queue_max,
            rotate_bytes: self.rotate_bytes,
            rotate_after: self.rotate_after,
            retention: self.retention,
        };
        if self.witnesses.len() > WITNESSES_MAX {
            let problem = format!("at most {WITNESSES_MAX} witnesses");
            return Err(Problem::new("audit.witnesses", problem));
        }
        let witnesses = self.witnesses.into_iter().enumerate();
        let witnesses = witnesses.map(|(index, witness)| witness.check(index));
        Ok(AuditSettings {
            log,
            says_origin,
            on_failure: self.on_failure,
            witnesses: witnesses.collect::<Result<_, _>>()?,
            witness_every: self.witness_every,
            authority_key_file: self.authority_key_file,
            sinks,
        })
    }
}

/// `keypod/HOST`, with the host's name as the system has it; in a pod, that is the pod's.
fn of_this_machine() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let known = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.chars().map(known).take(128).collect();
    format!("keypod/{}", if name.is_empty() { "host" } else { &name })
}
