//! What a sink sends to, and how it is sent to with patience.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use super::backlog::{Backlog, BatchLimit};
use super::tally::Tally;
use crate::audit::{Event, Subscription};

/// The first wait before another try is at most so long; it doubles with each.
const WAIT_FIRST: Duration = Duration::from_millis(200);
const WAIT_MAX: Duration = Duration::from_secs(30);
/// And while the sidecar ends.
const WAIT_LAST_MAX: Duration = Duration::from_millis(200);
/// No target is waited for longer, whatever it asks for.
const ASKED_WAIT_MAX: Duration = Duration::from_secs(5 * 60);

/// Where copies go.
#[async_trait]
pub(super) trait Target: Send + fmt::Debug {
    /// The name of the sink.
    fn name(&self) -> &'static str;

    /// How much it takes at once.
    fn limit(&self) -> BatchLimit;

    /// Sends what is at the front of `events`. Each that was taken, or that nobody will ever take, is counted in `tally`
    /// and removed; those that are left are sent again.
    async fn send(&mut self, events: &mut VecDeque<Event>, tally: &Tally) -> Result<(), Fault>;

    /// Whether it can be reached: what it is.
    async fn check(&mut self) -> Result<String, Fault>;

    /// Ends in order. Nothing is sent after this.
    async fn close(&mut self) {}
}

/// Why a target did not take something. Holds nothing that the target said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: String,
    /// When the target wants to be asked again.
    pub(super) after: Option<Duration>,
}

impl Fault {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), after: None }
    }
}

/// Moves what is committed into the backlog, as fast as it comes, until the log is closed.
pub(super) async fn collect(mut subscription: Subscription, backlog: &Backlog, tally: &Tally) {
    while let Some(event) = subscription.next().await {
        tally.miss(subscription.take_dropped());
        tally.receive(&event);
        if let Err(event) = backlog.put(event) {
            tally.lose(&event);
        }
        // A log that never pauses must leave time to send.
        tokio::task::coop::consume_budget().await;
    }
    tally.miss(subscription.take_dropped());
    backlog.end();
}

/// Sends what is in the backlog until it has ended and is empty.
pub(super) async fn deliver(target: &mut dyn Target, backlog: &Backlog, tally: &Tally) {
    while let Some(mut batch) = backlog.take(target.limit()).await {
        let mut wait = WAIT_FIRST;
        while !batch.is_empty() {
            match target.send(&mut batch, tally).await {
                Ok(()) => {
                    say_well(tally);
                    wait = WAIT_FIRST;
                }
                Err(fault) => {
                    say_wrong(tally, &fault, batch.is_empty());
                    if !batch.is_empty() {
                        pause(wait, &fault, backlog).await;
                        wait = (wait * 2).min(WAIT_MAX);
                    }
                }
            }
        }
    }
    target.close().await;
}

fn say_well(tally: &Tally) {
    if tally.turn(None) {
        tracing::info!(sink = tally.sink(), "copies of the audit log are taken again");
    }
}

fn say_wrong(tally: &Tally, fault: &Fault, lost: bool) {
    let (sink, reason) = (tally.sink(), &*fault.reason);
    if !tally.turn(Some(reason)) {
        tracing::debug!(sink, reason, "copies of the audit log are not taken yet");
    } else if lost {
        tracing::error!(sink, reason, "copies of the audit log are refused, and lost");
    } else {
        tracing::warn!(sink, reason, "copies of the audit log are not taken: they wait");
    }
}

/// Full jitter over `longest`, after what the target asks for. The end of the log cuts it short: there are
/// more tries, one soon after the other.
async fn pause(longest: Duration, fault: &Fault, backlog: &Backlog) {
    let asked = fault.after.unwrap_or_default().min(ASKED_WAIT_MAX);
    tokio::select! {
        biased;
        () = backlog.ended() => {
            tokio::time::sleep(longest.min(WAIT_LAST_MAX).mul_f64(random_share())).await;
        }
        () = tokio::time::sleep(asked + longest.mul_f64(random_share())) => {}
    }
}

/// Between 0 and 1. Without random bytes everybody waits half as long, which is no reason to stop.
fn random_share() -> f64 {
    let mut byte = [128];
    let _ = getrandom::fill(&mut byte);
    f64::from(byte[0]) / 255.0
}
