//! The root gone for longer than encrypt's bound, under load, and back again.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use keypod_test_servers::Fault;
use keypod_tests::Sidecar;
use serde_json::{Value, json};

use super::Shown;
use crate::figure::{Row, most, spread};
use crate::load::{Load, Operation, Outcome, Pace, Sample, count, failures};
use crate::pods::{Kms, Patience, id_of};
use crate::{now, say};

/// As long as the retry interval: a sidecar takes the shorter of both for it.
const RECHECK: Duration = Duration::from_secs(2);
const PATIENCE: Patience = Patience {
    attempt_timeout: Duration::from_millis(500),
    retry_interval: Duration::from_secs(2),
};
const PACE: Pace = Pace { loops: 5, pause: Duration::from_millis(40) };
/// Of the bound: the sidecar counts from before its recheck has left it, and this program from when it arrived.
const SLACK: f64 = 0.01;
/// Load before the root goes, after the bound has passed, and after the root is back.
const BEFORE: Duration = Duration::from_secs(3);
const PAST: Duration = Duration::from_secs(4);
const AFTER: Duration = Duration::from_secs(4);
/// Of the plot.
const BIN: Duration = Duration::from_millis(100);

/// One outage.
struct Outage {
    gone: Instant,
    /// When the bound passes: counted from when the last successful recheck arrived at the root.
    bound: Instant,
    back: Instant,
    samples: Vec<Sample>,
}

pub(super) async fn measure(quick: bool) -> anyhow::Result<Shown> {
    let (bound, rounds) = if quick { (4, 1) } else { (10, 3) };
    let bound = Duration::from_secs(bound);
    let kms = Kms::start()?;
    let config = format!(
        "[cache]\nrefresh_after = \"{0}s\"\nroot_recheck = \"{0}s\"\nencrypt_stale_max = \"{1}s\"\n\
         decrypt_stale_max = \"1h\"\n",
        RECHECK.as_secs(),
        bound.as_secs()
    );
    let pod = kms.pod(0, PATIENCE)?.config(&config).key("demo").start().await;
    let ways = [("refuses connections", Fault::Refuse), ("swallows packets", Fault::BlackHole)];
    let (mut rows, mut timeline) = (Vec::new(), Value::Null);
    for (way, fault) in ways {
        let mut outages = Vec::new();
        for round in 1..=rounds {
            let outage = one_outage(&kms, &pod, fault, bound).await?;
            say(&format!("  {way}, round {round}: back after {:.3}", outage.recovery()?));
            outages.push(outage);
        }
        rows.extend(rows_of(way, bound, &outages)?);
        if let Some(first) = outages.first() {
            timeline = first.timeline();
        }
    }
    Ok(Shown {
        title: "An outage of the root is served through until the bound, and ends by itself",
        run: format!(
            "One sidecar under a steady load of encryptions and decryptions; the root is gone past \
             `encrypt_stale_max` = {} s and comes back; {rounds} outages in each of two ways. `refresh_after`, \
             `root_recheck` and `root.retry_interval` are 2 s, `root.attempt_timeout` is 0.5 s. The bound counts \
             from the last successful recheck, as the root saw it; the sidecar counts from a moment before, so \
             what begins in the last hundredth of the bound counts on neither side.",
            bound.as_secs()
        ),
        rows,
        data: timeline,
    })
}

async fn one_outage(
    kms: &Kms,
    pod: &Sidecar,
    fault: Fault,
    bound: Duration,
) -> anyhow::Result<Outage> {
    let id = id_of(pod, "demo").await;
    let load = Load::start(&[pod], "demo", PACE);
    tokio::time::sleep(BEFORE).await;
    kms.proxy.set(fault);
    let gone = now();
    let last = kms.last_unwrap(0, &id, gone).context("no recheck came")?.at;
    let bound = last + bound;
    tokio::time::sleep_until((bound + PAST).into()).await;
    kms.proxy.set(Fault::None);
    let back = now();
    tokio::time::sleep(AFTER).await;
    Ok(Outage { gone, bound, back, samples: load.stop().await? })
}

impl Outage {
    /// From when the root was back until an encryption was served, in retry intervals.
    fn recovery(&self) -> anyhow::Result<f64> {
        let mut after = self.samples.iter().filter(|sample| sample.ended >= self.back);
        let first = after.find(|sample| sample.is(Operation::Encrypt) && sample.served());
        let first = first.context("no encryption was served after the root was back")?;
        Ok((first.ended - self.back).as_secs_f64() / PATIENCE.retry_interval.as_secs_f64())
    }

    /// Requests that began from `from` to `to`.
    fn between(&self, from: Instant, to: Instant) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.begun >= from && sample.begun < to)
    }

    /// Served encryptions, refused ones, and served decryptions by when they were answered; and the marks.
    fn timeline(&self) -> Value {
        let Some(start) = self.samples.first().map(|sample| sample.begun) else {
            return Value::Null;
        };
        let at = |mark: Instant| mark.saturating_duration_since(start).as_secs_f64();
        let place = |sample: &Sample| (sample.ended - start).as_millis() / BIN.as_millis();
        let bins = self.samples.iter().map(place).max().unwrap_or(0);
        let counts = |is: &dyn Fn(&Sample) -> bool| -> Vec<usize> {
            let in_bin =
                |bin| self.samples.iter().filter(|one| place(one) == bin && is(one)).count();
            (0..bins).map(in_bin).collect()
        };
        let sealed = |sample: &Sample| sample.is(Operation::Encrypt) && sample.served();
        let refused = |sample: &Sample| sample.is(Operation::Encrypt) && !sample.served();
        let opened = |sample: &Sample| sample.is(Operation::Decrypt) && sample.served();
        json!({
            "bin_seconds": BIN.as_secs_f64(),
            "encrypt_served": counts(&sealed),
            "encrypt_refused": counts(&refused),
            "decrypt_served": counts(&opened),
            "root_gone": at(self.gone),
            "bound": at(self.bound),
            "root_back": at(self.back),
        })
    }
}

/// How long these took, in time limits of one try of a call to the root.
fn waits<'a>(samples: impl Iterator<Item = &'a Sample>) -> Vec<f64> {
    let waited = samples.map(|sample| (sample.ended - sample.begun).as_secs_f64());
    waited.map(|waited| waited / PATIENCE.attempt_timeout.as_secs_f64()).collect()
}

fn rows_of(way: &str, bound: Duration, outages: &[Outage]) -> anyhow::Result<Vec<Row>> {
    let slack = bound.mul_f64(SLACK);
    let sum = |pick: &dyn Fn(&Outage) -> (usize, usize)| {
        let add = |sum: (usize, usize), (count, of)| (sum.0 + count, sum.1 + of);
        outages.iter().map(pick).fold((0, 0), add)
    };
    let before = sum(&|outage| {
        count(outage.between(outage.gone, outage.bound - slack), |sample| !sample.served())
    });
    let sealing = |outage: &Outage, is: &dyn Fn(&Sample) -> bool| {
        let past = outage.between(outage.bound, outage.back);
        count(past.filter(|sample| sample.is(Operation::Encrypt)), is)
    };
    let served = sum(&|outage| sealing(outage, &|sample| sample.served()));
    let otherwise =
        sum(&|outage| sealing(outage, &|sample| sample.outcome != Outcome::RootUnavailable));
    let unopened = sum(&|outage| {
        let all = outage.samples.iter().filter(|sample| sample.is(Operation::Decrypt));
        count(all, |sample| !sample.served())
    });
    let before_bound =
        outages.iter().flat_map(|outage| outage.between(outage.gone, outage.bound - slack));
    let served_waits = waits(before_bound);
    let past_bound = outages.iter().flat_map(|outage| outage.between(outage.bound, outage.back));
    let refusals = waits(past_bound.filter(|sample| !sample.served()));
    let recoveries: Vec<_> = outages.iter().map(Outage::recovery).collect::<Result<_, _>>()?;
    if before.0 > 0 {
        let failed =
            outages.iter().flat_map(|outage| outage.between(outage.gone, outage.bound - slack));
        say(&format!("  failed: {}", failures(failed)));
    }
    let of = |what: &str| format!("root {way}: {what}");
    Ok(vec![
        Row::none(&of("requests that failed before the bound"), before.0, before.1),
        Row::check(
            &of("the slowest of them, in `attempt_timeout`"),
            "below 1: nobody waits for the root",
            spread(&served_waits, ""),
            most(&served_waits) < 1.0,
        ),
        Row::none(&of("encryptions served past the bound"), served.0, served.1),
        Row::none(
            &of("of those, not refused with 503 `root_unavailable` and `Retry-After`"),
            otherwise.0,
            otherwise.1,
        ),
        Row::note(&of("how long a refusal took, in `attempt_timeout`"), spread(&refusals, "")),
        Row::none(&of("decryptions that failed, their bound being longer"), unopened.0, unopened.1),
        Row::check(
            &of("until it encrypts again once the root is back, in retry intervals"),
            "at most 1, and 0.1 s for the call and the pause of the load",
            spread(&recoveries, ""),
            most(&recoveries) <= 1.0 + 0.1 / PATIENCE.retry_interval.as_secs_f64(),
        ),
    ])
}
