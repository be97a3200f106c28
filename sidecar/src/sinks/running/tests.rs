use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::Value;

use super::*;
use crate::audit::recording::Recorded;
use crate::audit::{Event, own_entry};
use crate::clock::SystemClock;
use crate::sinks::backlog::BatchLimit;
use crate::sinks::copy::line;
use crate::sinks::target::Fault;

/// What a target does with what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Takes,
    Hangs,
    Refuses,
    FailsOnce,
}

#[derive(Debug)]
struct Known {
    manner: Manner,
    seen: Arc<Mutex<Vec<Value>>>,
    closed: Arc<AtomicBool>,
}

#[async_trait]
impl Target for Known {
    fn name(&self) -> &'static str {
        "known"
    }

    fn limit(&self) -> BatchLimit {
        BatchLimit { events: 16, bytes: 1 << 20, wait: Duration::ZERO }
    }

    async fn send(&mut self, events: &mut VecDeque<Event>, tally: &Tally) -> Result<(), Fault> {
        match self.manner {
            Manner::Hangs => std::future::pending().await,
            Manner::Refuses => {
                events.drain(..).for_each(|event| tally.lose(&event));
                Err(Fault::new("refused"))
            }
            Manner::FailsOnce => {
                self.manner = Manner::Takes;
                Err(Fault::new("not yet"))
            }
            Manner::Takes => {
                for event in events.drain(..) {
                    tally.take(&event);
                    self.seen.lock().unwrap().push(serde_json::from_slice(&line(&event)).unwrap());
                }
                Ok(())
            }
        }
    }

    async fn check(&mut self) -> Result<String, Fault> {
        Ok("known".to_owned())
    }

    async fn close(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
    }
}

struct World {
    log: Recorded,
    sinks: Sinks,
    seen: Arc<Mutex<Vec<Value>>>,
    closed: Arc<AtomicBool>,
}

impl World {
    async fn start(manner: Manner, backlog_bytes_max: usize) -> Self {
        let log = Recorded::start().await;
        let (seen, closed) = (Arc::default(), Arc::default());
        let target = Known { manner, seen: Arc::clone(&seen), closed: Arc::clone(&closed) };
        let ready = ReadySinks { targets: vec![Box::new(target)], backlog_bytes_max };
        let sinks = ready.start(&log.audit);
        Self { log, sinks, seen, closed }
    }

    async fn record(&self, count: usize) {
        for _ in 0..count {
            self.log.audit.record("tokens", Outcome::Ok, json!({ "problems": 0 })).await.unwrap();
        }
    }

    /// Waits until the sink has heard of so many entries.
    async fn heard(&self, count: u64) {
        let tally = &self.sinks.lanes[0].tally;
        while tally.received() < count {
            tokio::task::yield_now().await;
        }
    }

    async fn lost(&self, count: u64) {
        while self.sinks.lanes[0].tally.counts().1 < count {
            tokio::task::yield_now().await;
        }
    }

    async fn close(&self) {
        let last = own_entry(&SystemClock, "close", Outcome::Ok, &Value::Null);
        self.log.audit.log().close(last).await.unwrap();
    }

    /// What the log says of lost copies.
    fn said(&self) -> Vec<u64> {
        let entries = self.log.entries().into_iter();
        let said = entries.filter(|entry| entry["operation"] == "sink_lost");
        said.map(|entry| {
            assert_eq!(
                (&entry["outcome"], &entry["detail"]["sink"]),
                (&json!("failed"), &json!("known"))
            );
            entry["detail"]["entries"].as_u64().unwrap()
        })
        .collect()
    }
}

#[tokio::test]
async fn every_entry_is_copied_from_the_first_to_the_last_and_the_last_checkpoint_after_them() {
    for manner in [Manner::Takes, Manner::FailsOnce] {
        let world = World::start(manner, 1 << 20).await;
        world.record(5).await;
        world.close().await;
        world.sinks.drain(Duration::from_secs(60)).await;
        let seen = world.seen.lock().unwrap();
        let entries: Vec<_> = seen.iter().filter(|copy| copy["index"].is_u64()).collect();
        let indices: Vec<_> = entries.iter().map(|copy| copy["index"].as_u64().unwrap()).collect();
        assert_eq!(indices, [0, 1, 2, 3, 4, 5, 6]);
        let ends = [entries[0], entries[6]].map(|copy| copy["operation"].as_str().unwrap());
        assert_eq!(ends, ["start", "close"]);
        let last = seen.last().unwrap();
        assert_eq!((&last["size"], &last["log"]), (&json!(7), &entries[0]["log"]));
        let note = last["checkpoint"].as_str().unwrap();
        assert!(note.starts_with(&format!("{}\n7\n", last["log"].as_str().unwrap())), "{note}");
        assert!(world.closed.load(Ordering::Relaxed));
    }
}

#[tokio::test]
async fn a_target_that_hangs_holds_up_neither_the_log_nor_the_end() {
    let world = World::start(Manner::Hangs, 1 << 20).await;
    world.record(100).await;
    world.heard(101).await;
    world.close().await;
    let lane = Arc::clone(&world.sinks.lanes[0]);
    world.sinks.drain(Duration::from_millis(10)).await;
    assert_eq!((lane.tally.counts(), lane.tally.waiting() >= 101), ((0, 0), true));
    assert!(!world.closed.load(Ordering::Relaxed));
}

#[tokio::test]
async fn what_says_that_copies_were_lost_is_not_counted_when_it_is_lost() {
    let world = World::start(Manner::Refuses, 1 << 20).await;
    world.record(3).await;
    world.lost(4).await;
    world.sinks.record_lost(&world.log.audit).await;
    assert_eq!(world.said(), [4]);
    // The entry that says it is refused as well.
    world.lost(5).await;
    world.sinks.record_lost(&world.log.audit).await;
    assert_eq!(world.said(), [4], "it does not feed itself");
    world.record(1).await;
    world.lost(6).await;
    world.sinks.record_lost(&world.log.audit).await;
    assert_eq!(world.said(), [4, 1]);
}

#[tokio::test]
async fn what_does_not_fit_is_lost_and_said_while_the_target_hangs() {
    let world = World::start(Manner::Hangs, 2000).await;
    world.record(200).await;
    world.heard(201).await;
    let (taken, lost) = world.sinks.lanes[0].tally.counts();
    assert!(taken == 0 && lost > 150, "{lost}");
    assert_eq!(world.sinks.lanes[0].tally.waiting(), 201 - lost);
    world.sinks.record_lost(&world.log.audit).await;
    world.heard(202).await;
    world.sinks.record_lost(&world.log.audit).await;
    assert_eq!(world.said(), [lost]);
}

#[tokio::test]
async fn what_cannot_be_recorded_now_is_kept_for_the_next_time() {
    let world = World::start(Manner::Refuses, 1 << 20).await;
    world.lost(1).await;
    world.close().await;
    world.sinks.record_lost(&world.log.audit).await;
    assert!(world.sinks.lanes[0].tally.take_unsaid() >= 1);
}
