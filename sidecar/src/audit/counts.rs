//! Records in numbers what has no entry of its own: requests that were turned away, and entries that did not get into
//! the log.
//!
//! Invariant: each number is in the log once, also where a disk answers late
//! (`a_count_that_a_disk_takes_late_is_in_the_log_once`): nothing more is sent before it is known what became of what
//! was, and what is on its way outlives whoever waits for it.

use serde_json::json;
use tokio::sync::Mutex;

use super::batch::Waiting;
use super::entry::Outcome;
use super::refusals::{self, Refusals};
use super::{AppendError, Audit};

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) refusals: Refusals,
    sending: Mutex<Sending>,
}

/// What is being recorded.
#[derive(Debug, Default)]
struct Sending {
    /// So many of the entries that are lost are said to be, in the log.
    lost_said: u64,
    /// Refusals that are to be recorded, an entry each.
    parts: Vec<refusals::Counts>,
    on_its_way: Option<(Waiting, Said)>,
}

/// What an entry says.
#[derive(Debug)]
enum Said {
    /// That so many entries are lost, since the start.
    Lost(u64),
    Refused(refusals::Counts),
}

impl Counts {
    /// Records what there is to say.
    pub(super) async fn record(&self, audit: &Audit) -> Result<(), AppendError> {
        let mut sending = self.sending.lock().await;
        sending.settle().await?;
        let lost = audit.0.log.lost();
        if lost > sending.lost_said {
            sending.send(audit, Said::Lost(lost)).await?;
        }
        if sending.parts.is_empty() {
            let counts = self.refusals.take();
            sending.parts = counts.map(refusals::Counts::in_parts).unwrap_or_default();
        }
        while let Some(part) = sending.parts.pop() {
            sending.send(audit, Said::Refused(part)).await?;
        }
        Ok(())
    }
}

impl Sending {
    async fn send(&mut self, audit: &Audit, said: Said) -> Result<(), AppendError> {
        let (operation, outcome, detail) = match &said {
            Said::Lost(lost) => {
                let entries = lost - self.lost_said;
                let detail = json!({ "entries": entries, "on_failure": audit.0.on_failure });
                ("gap", Outcome::Failed, detail)
            }
            Said::Refused(counts) => ("refused", Outcome::Denied, counts.to_json()),
        };
        match audit.0.log.send(&audit.own_entry(operation, outcome, &detail)) {
            Ok(waiting) => self.on_its_way = Some((waiting, said)),
            Err(error) => {
                self.is_not_in(said);
                return Err(error);
            }
        }
        self.settle().await
    }

    /// Waits for what is on its way. After [`AppendError::TooSlow`] it still is.
    async fn settle(&mut self) -> Result<(), AppendError> {
        let Some((waiting, _)) = &self.on_its_way else { return Ok(()) };
        let ended = waiting.clone().await;
        if ended == Err(AppendError::TooSlow) {
            return Err(AppendError::TooSlow);
        }
        let said = self.on_its_way.take().map(|(_, said)| said);
        match (ended, said) {
            (Ok(_), Some(Said::Lost(lost))) => self.lost_said = lost,
            (Err(error), Some(said)) => {
                self.is_not_in(said);
                return Err(error);
            }
            _ => {}
        }
        Ok(())
    }

    /// It is to be said again.
    fn is_not_in(&mut self, said: Said) {
        if let Said::Refused(counts) = said {
            self.parts.push(counts);
        }
    }
}
