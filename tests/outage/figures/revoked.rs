//! The grant revoked while load runs on several pods: when each served its last request.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::join_all;
use keypod_test_servers::Answer;
use keypod_tests::Sidecar;
use serde_json::{Value, json};

use super::Shown;
use crate::figure::{Row, most, spread};
use crate::load::{Load, Outcome, Pace, Sample, count};
use crate::pods::{Kms, Patience, id_of};
use crate::{now, say};

const PODS: usize = 5;
const RECHECK: Duration = Duration::from_secs(8);
/// Of the root.
const LATENCY: Duration = Duration::from_millis(20);
const PATIENCE: Patience =
    Patience { attempt_timeout: Duration::from_secs(2), retry_interval: Duration::from_secs(1) };
const PACE: Pace = Pace { loops: 1, pause: Duration::from_millis(20) };
/// Of the plot.
const BIN: Duration = Duration::from_millis(250);

/// What one pod did in one round.
struct Ended {
    /// The last request that it served, in rechecks after the revocation.
    after_revocation: f64,
    /// The same, after its last successful recheck.
    after_recheck: f64,
    /// Requests that it served after it had refused one.
    served_after_a_refusal: usize,
    failed_otherwise: usize,
    requests: usize,
}

pub(super) async fn measure(quick: bool) -> anyhow::Result<Shown> {
    let rounds = if quick { 1 } else { 4 };
    let kms = Kms::start()?;
    let config = format!(
        "[cache]\nrefresh_after = \"5m\"\nroot_recheck = \"{}s\"\nencrypt_stale_max = \"1h\"\n",
        RECHECK.as_secs()
    );
    let mut pods = Vec::new();
    for number in 0..PODS {
        pods.push(kms.pod(number, PATIENCE)?.config(&config).key("demo").start().await);
        // Pods of a deployment do not all start at one moment.
        tokio::time::sleep(RECHECK / 8).await;
    }
    let ids = join_all(pods.iter().map(|pod| id_of(pod, "demo"))).await;
    kms.stand_in.set_latency(LATENCY);
    let (mut ended, mut timeline) = (Vec::new(), Value::Null);
    for round in 1..=rounds {
        // Each pod has a store and so a key of its own: each loads itself.
        let loads: Vec<_> = pods.iter().map(|pod| Load::start(&[pod], "demo", PACE)).collect();
        tokio::time::sleep(RECHECK).await;
        kms.stand_in.answer(Answer::access_denied());
        let revoked = now();
        tokio::time::sleep(RECHECK.mul_f64(1.5)).await;
        let mut samples = Vec::new();
        for ((number, load), id) in loads.into_iter().enumerate().zip(&ids) {
            let of_pod = load.stop().await?;
            let rechecked = kms.last_unwrap(number, id, revoked);
            let rechecked = rechecked.context("a pod never rechecked")?.at;
            ended.push(one_pod(rechecked, revoked, &of_pod)?);
            samples.push(of_pod);
        }
        timeline = served_over_time(&samples, revoked);
        let last = ended.iter().map(|pod| pod.after_recheck).collect::<Vec<_>>();
        say(&format!("  round {round}: the last request served after {:.3} rechecks", most(&last)));
        kms.stand_in.answer(Answer::PassOn);
        for pod in &pods {
            until_served(pod).await?;
        }
    }
    Ok(Shown {
        title: "A revoked grant ends a key on every pod by its next recheck",
        run: format!(
            "{PODS} pods under load when the root begins to answer `AccessDeniedException`; {rounds} rounds. \
             `root_recheck` is {} s, the bounds of an outage are 1 h, the root answers after 20 ms. Counted from the \
             last successful recheck of each pod, as the root saw it, to the beginning of the last request that \
             the pod served.",
            RECHECK.as_secs()
        ),
        rows: rows_of(&ended),
        data: json!({
            "after_recheck": ended.iter().map(|pod| pod.after_recheck).collect::<Vec<_>>(),
            "after_revocation": ended.iter().map(|pod| pod.after_revocation).collect::<Vec<_>>(),
            "timeline": timeline,
        }),
    })
}

fn one_pod(rechecked: Instant, revoked: Instant, samples: &[Sample]) -> anyhow::Result<Ended> {
    let after = |sample: &&Sample| sample.begun >= revoked;
    let last = samples.iter().rfind(|sample| sample.served()).context("a pod served nothing")?;
    let refused = samples.iter().filter(after).find(|sample| !sample.served());
    let refused = refused.context("a pod never refused")?.ended;
    let (served_after_a_refusal, _) =
        count(samples, |sample| sample.begun > refused && sample.served());
    let (failed_otherwise, requests) = count(samples.iter().filter(after), |sample| {
        !sample.served() && sample.outcome != Outcome::RootUnavailable
    });
    let shares = |since: Instant| {
        last.begun.saturating_duration_since(since).as_secs_f64() / RECHECK.as_secs_f64()
    };
    Ok(Ended {
        after_revocation: shares(revoked),
        after_recheck: shares(rechecked),
        served_after_a_refusal,
        failed_otherwise,
        requests,
    })
}

fn rows_of(ended: &[Ended]) -> Vec<Row> {
    let after_recheck: Vec<_> = ended.iter().map(|pod| pod.after_recheck).collect();
    let after_revocation: Vec<_> = ended.iter().map(|pod| pod.after_revocation).collect();
    let requests = ended.iter().map(|pod| pod.requests).sum();
    let again = ended.iter().map(|pod| pod.served_after_a_refusal).sum();
    let otherwise = ended.iter().map(|pod| pod.failed_otherwise).sum();
    vec![
        Row::check(
            "the last request that a pod served, in `root_recheck` after its last successful recheck",
            "at most 1",
            spread(&after_recheck, ""),
            most(&after_recheck) <= 1.0,
        ),
        Row::note("the same, after the revocation", spread(&after_revocation, "")),
        Row::none("requests that a pod served after it had refused one", again, requests),
        Row::none(
            "requests not served and not refused with 503 `root_unavailable` and `Retry-After`",
            otherwise,
            requests,
        ),
    ]
}

/// Requests that each pod served in each quarter of a second after the revocation.
fn served_over_time(samples: &[Vec<Sample>], revoked: Instant) -> Value {
    let bins = RECHECK.mul_f64(1.25).as_millis() / BIN.as_millis();
    let place = |sample: &Sample| {
        let after = sample.begun.checked_duration_since(revoked)?;
        sample.served().then_some(after.as_millis() / BIN.as_millis())
    };
    let of_pod = |samples: &Vec<Sample>| -> Vec<usize> {
        let places: Vec<_> = samples.iter().filter_map(place).collect();
        (0..bins).map(|bin| places.iter().filter(|place| **place == bin).count()).collect()
    };
    json!({
        "bin_seconds": BIN.as_secs_f64(),
        "recheck_seconds": RECHECK.as_secs_f64(),
        "pods": samples.iter().map(of_pod).collect::<Vec<_>>(),
    })
}

async fn until_served(pod: &Sidecar) -> anyhow::Result<()> {
    let begun = now();
    let body = json!({ "key": "demo", "plaintext": "AAAA" });
    while pod.client().post_json("/v1/encrypt", &body).await.status != 200 {
        anyhow::ensure!(begun.elapsed() < RECHECK * 4, "a new grant does not bring the key back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
