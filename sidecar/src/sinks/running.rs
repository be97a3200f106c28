//! The sinks at work: a task each, and one that shows and records what they lost.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::ReadySinks;
use super::backlog::Backlog;
use super::tally::Tally;
use super::target::{self, Target};
use crate::audit::{Audit, Outcome, Subscription};
use crate::error_chain::error_chain;

/// Events on their way from the log to a backlog.
const SUBSCRIPTION_MAX: usize = 4096;
/// Gauges are set this often.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// What was lost is recorded every so many times.
const RECORD_EVERY: u32 = 10;

/// What one sink and those who look at it share.
#[derive(Debug)]
struct Lane {
    backlog: Backlog,
    tally: Tally,
}

/// Sinks at work.
#[derive(Debug)]
pub struct Sinks {
    lanes: Vec<Arc<Lane>>,
    tasks: Vec<JoinHandle<()>>,
    keeper: JoinHandle<()>,
}

impl ReadySinks {
    /// Starts to copy what is committed from now on. To be called before anything is appended: then the copies begin with
    /// the first entry of the log.
    #[must_use]
    pub fn start(self, audit: &Audit) -> Sinks {
        let (mut lanes, mut tasks) = (Vec::new(), Vec::new());
        for target in self.targets {
            let subscription = audit.log().subscribe(SUBSCRIPTION_MAX);
            let backlog = Backlog::new(self.backlog_bytes_max);
            let lane = Arc::new(Lane { backlog, tally: Tally::new(target.name()) });
            tasks.push(tokio::spawn(work(target, subscription, Arc::clone(&lane))));
            lanes.push(lane);
        }
        let keeper = tokio::spawn(keep(lanes.clone(), audit.clone()));
        Sinks { lanes, tasks, keeper }
    }
}

async fn work(mut target: Box<dyn Target>, subscription: Subscription, lane: Arc<Lane>) {
    let Lane { backlog, tally } = &*lane;
    tokio::join!(
        target::collect(subscription, backlog, tally),
        target::deliver(&mut *target, backlog, tally)
    );
}

async fn keep(lanes: Vec<Arc<Lane>>, audit: Audit) {
    let mut timer = tokio::time::interval(SHOW_EVERY);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        for _ in 0..RECORD_EVERY {
            timer.tick().await;
            lanes.iter().for_each(|lane| lane.tally.show());
        }
        record_lost(&lanes, &audit).await;
    }
}

/// Records for each sink how many copies it lost since the last time.
async fn record_lost(lanes: &[Arc<Lane>], audit: &Audit) {
    for lane in lanes {
        let entries = lane.tally.take_unsaid();
        if entries == 0 {
            continue;
        }
        let sink = lane.tally.sink();
        let detail = json!({ "sink": sink, "entries": entries });
        if let Err(error) = audit.record("sink_lost", Outcome::Failed, detail).await {
            lane.tally.put_back(entries);
            let error = error_chain(&error);
            tracing::error!(sink, entries, error, "that copies were lost waits for the audit log");
        }
    }
}

impl Sinks {
    /// Records what is not recorded yet. To be called before the log is closed.
    pub async fn record_lost(&self, audit: &Audit) {
        record_lost(&self.lanes, audit).await;
    }

    /// Waits until every copy is taken, `within` at most. To be called once the log is closed. What is left is said.
    pub async fn drain(mut self, within: Duration) {
        self.keeper.abort();
        let _ = tokio::time::timeout(within, join_all(self.tasks.iter_mut())).await;
        self.tasks.iter().for_each(JoinHandle::abort);
        for lane in &self.lanes {
            let (sink, waiting) = (lane.tally.sink(), lane.tally.waiting());
            let unsaid = lane.tally.take_unsaid();
            if waiting + unsaid > 0 {
                tracing::error!(
                    sink,
                    waiting,
                    lost = unsaid,
                    "the audit log is closed, and these copies of it were not taken: they are in the log alone"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
