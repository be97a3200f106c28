//! Carries copies of the audit log elsewhere: to standard output, to a syslog collector, to a collector of OpenTelemetry.
//!
//! Depends on [`crate::audit`] for what is committed. The log never waits for a sink: each has a task and a bounded backlog of its
//! own, and what does not fit, or what a target refuses, is counted, shown (`keypod_audit_sink_lost_total`) and recorded
//! in the log itself (`sink_lost`), in a way that does not feed itself
//! (`what_says_that_copies_were_lost_is_not_counted_when_it_is_lost`). A copy may arrive twice, and never in two pieces.
//! The form of each copy is in `docs/audit-log.md`. Nothing that a target says is repeated in a log or in an error.

mod backlog;
mod copy;
mod error;
mod otlp;
mod running;
mod settings;
mod stdout;
mod syslog;
mod tally;
mod target;
#[cfg(test)]
mod testing;
mod tls;

pub use error::SinkError;
pub use running::Sinks;
pub use settings::{
    ClientIdentity, OtlpSettings, SinkSettings, SyslogPlace, SyslogSettings, SyslogTransport,
};

use std::sync::Arc;

use crate::clock::Clock;
use otlp::Otlp;
use stdout::Stdout;
use syslog::Syslog;
use target::Target;

/// The sinks of a configuration, not at work yet.
#[derive(Debug)]
pub struct ReadySinks {
    targets: Vec<Box<dyn Target>>,
    backlog_bytes_max: usize,
}

/// Reads the files that the sinks need. No target is asked anything yet.
///
/// # Errors
/// [`SinkError`].
pub fn open(settings: &SinkSettings, clock: Arc<dyn Clock>) -> Result<ReadySinks, SinkError> {
    let mut targets: Vec<Box<dyn Target>> = Vec::new();
    if settings.stdout {
        targets.push(Box::new(Stdout::open()?));
    }
    if let Some(syslog) = &settings.syslog {
        targets.push(Box::new(Syslog::open(syslog)?));
    }
    if let Some(otlp) = &settings.otlp {
        targets.push(Box::new(Otlp::open(otlp, &settings.instance, clock)?));
    }
    Ok(ReadySinks { targets, backlog_bytes_max: settings.backlog_bytes_max })
}

impl ReadySinks {
    /// Whether each target can be reached: its name, and what it is or what is wrong.
    pub async fn check(self) -> Vec<(&'static str, Result<String, String>)> {
        let mut found = Vec::new();
        for mut target in self.targets {
            let checked = target.check().await;
            found.push((target.name(), checked.map_err(|fault| fault.reason)));
        }
        found
    }
}
