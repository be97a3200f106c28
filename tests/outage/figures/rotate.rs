//! Many sidecars on one database rotate one key at once, under load.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::join_all;
use keypod_tests::{Answer, Sidecar};
use serde_json::{Value, json};

use super::Shown;
use crate::database::Database;
use crate::figure::{Row, median, most, spread};
use crate::load::{Load, Operation, Pace, Sample, failures};
use crate::pods::{Kms, Patience, make_key};
use crate::{now, say};

/// Of the root.
const LATENCY: Duration = Duration::from_millis(50);
const PATIENCE: Patience =
    Patience { attempt_timeout: Duration::from_secs(5), retry_interval: Duration::from_secs(1) };
const PACE: Pace = Pace { loops: 1, pause: Duration::from_millis(40) };
/// Load before the rotations, and the longest after them.
const BEFORE: Duration = Duration::from_millis(1_500);
const AFTER: Duration = Duration::from_secs(3);

/// From the first answer to a rotation until the last pod uses the new version: a machine that does nothing else needs
/// a tenth of it.
const LAST_MAX: Duration = Duration::from_secs(1);

/// One round.
struct Round {
    versions: BTreeSet<u64>,
    /// Of the rotations, how many were not answered with version 2.
    refused: usize,
    /// For each pod: from the first answer to a rotation until it began an encryption with the new version.
    after_answer: Vec<f64>,
    /// The same, from when the rotations were sent.
    after_sent: Vec<f64>,
    /// Encryptions with the old version that a pod began after one with the new one.
    went_back: usize,
    calls: usize,
    samples: Vec<Sample>,
}

pub(super) async fn measure(quick: bool) -> anyhow::Result<Shown> {
    let (count, rounds) = if quick { (5, 2) } else { (20, 8) };
    let (kms, database) = (Kms::start()?, Database::start().await?);
    let mut pods = Vec::new();
    for number in 0..count {
        let pod = kms.pod(number, PATIENCE)?.store(&database.store());
        pods.push(pod.config("[cache]\nrefresh_after = \"14m\"").start().await);
    }
    kms.stand_in.set_latency(LATENCY);
    let mut all = Vec::new();
    for number in 1..=rounds {
        // A new key each round: rotations through several sidecars within 30 seconds count as one.
        let round = one_round(&kms, &pods, &format!("shared-{number}")).await?;
        say(&format!("  round {number}: all use it after {:.3} s", most(&round.after_answer)));
        all.push(round);
    }
    let data = json!({
        "latency_seconds": LATENCY.as_secs_f64(),
        "after_answer": all.iter().map(|round| &round.after_answer).collect::<Vec<_>>(),
        "after_sent": all.iter().map(|round| &round.after_sent).collect::<Vec<_>>(),
    });
    Ok(Shown {
        title: "Sidecars that share keys rotate at once, and nobody notices",
        run: format!(
            "{count} sidecars on one PostgreSQL, each with a steady load of encryptions, which the others decrypt; \
             all of them are told at once to rotate the key. {rounds} rounds, each with a key of its own. The root \
             answers after 50 ms; `refresh_after` is 14 min, so that a sidecar learns of the new version from the \
             database's notification, or from a ciphertext that it is given. A pod that uses the new version is one that begins an encryption with it; each pod begins \
             one about every 50 ms."
        ),
        rows: rows_of(&all, count),
        data,
    })
}

async fn one_round(kms: &Kms, pods: &[Sidecar], key: &str) -> anyhow::Result<Round> {
    let first = pods.first().context("a pod")?;
    make_key(&first.client(), key).await?;
    let everyone: Vec<_> = pods.iter().collect();
    let load = Load::start(&everyone, key, PACE);
    tokio::time::sleep(BEFORE).await;
    let calls = kms.stand_in.seen().len();
    let body = json!({ "key": key });
    let sent = now();
    let rotations = pods.iter().map(|pod| {
        let (client, body) = (pod.client(), &body);
        async move { (client.post_json("/v1/rotate", body).await, now()) }
    });
    let rotations = join_all(rotations).await;
    tokio::time::sleep(AFTER).await;
    let calls = kms.stand_in.seen().len() - calls;
    let samples = load.stop().await?;
    let made = |answer: &Answer| answer.json().get("key_version").and_then(Value::as_u64);
    let refused = rotations
        .iter()
        .filter(|(answer, _)| answer.status != 200 || made(answer) != Some(2))
        .count();
    let answered = rotations.iter().map(|(_, at)| *at).min().context("a rotation")?;
    let firsts: Vec<_> = (0..pods.len())
        .map(|pod| first_with(&samples, pod, 2).context("a pod never used the new version"))
        .collect::<anyhow::Result<_>>()?;
    let went_back = samples.iter().filter(|sample| {
        let first = firsts.get(sample.pod);
        sealed(sample) && sample.version < 2 && first.is_some_and(|first| sample.begun > *first)
    });
    let since = |then: Instant| -> Vec<f64> {
        firsts.iter().map(|at| at.saturating_duration_since(then).as_secs_f64()).collect()
    };
    Ok(Round {
        versions: samples.iter().filter(|one| sealed(one)).map(|one| one.version).collect(),
        refused,
        after_answer: since(answered),
        after_sent: since(sent),
        went_back: went_back.count(),
        calls,
        samples,
    })
}

fn sealed(sample: &Sample) -> bool {
    sample.is(Operation::Encrypt) && sample.served()
}

/// When this pod began its first encryption with this version.
fn first_with(samples: &[Sample], pod: usize, version: u64) -> Option<Instant> {
    let mut of_pod = samples.iter().filter(|sample| sample.pod == pod && sealed(sample));
    of_pod.find(|sample| sample.version == version).map(|sample| sample.begun)
}

fn rows_of(rounds: &[Round], pods: usize) -> Vec<Row> {
    let failed_of = |operation| {
        let of = rounds.iter().flat_map(|round| &round.samples);
        crate::load::count(of.filter(|one| one.is(operation)), |one| !one.served())
    };
    let (sealing, opening) = (failed_of(Operation::Encrypt), failed_of(Operation::Decrypt));
    if sealing.0 + opening.0 > 0 {
        for round in rounds {
            say(&format!("  failed: {}", failures(&round.samples)));
        }
    }
    let one_each = rounds.iter().filter(|round| round.versions == BTreeSet::from([1, 2])).count();
    let refused = rounds.iter().map(|round| round.refused).sum();
    let went_back = rounds.iter().map(|round| round.went_back).sum();
    let each: Vec<_> = rounds.iter().flat_map(|round| round.after_answer.clone()).collect();
    let last: Vec<_> = rounds.iter().map(|round| most(&round.after_answer)).collect();
    let last_sent: Vec<_> = rounds.iter().map(|round| most(&round.after_sent)).collect();
    let calls: Vec<_> = rounds.iter().map(|round| round.calls).collect();
    let calls_max = calls.iter().copied().max().unwrap_or_default();
    vec![
        Row::check(
            "rounds in which all rotations together made one version",
            &format!("{} of {0}", rounds.len()),
            format!("{one_each} of {}", rounds.len()),
            one_each == rounds.len(),
        ),
        Row::none("rotations that were not answered with it", refused, rounds.len() * pods),
        Row::none("encryptions that failed", sealing.0, sealing.1),
        Row::none("decryptions, on other pods, that failed", opening.0, opening.1),
        Row::none(
            "encryptions with the old version on a pod that had used the new one",
            went_back,
            sealing.1,
        ),
        Row::note(
            "from the first answer to a rotation until a pod uses the new version",
            format!("p50 {:.0} ms, at most {:.0} ms", median(&each) * 1e3, most(&each) * 1e3),
        ),
        Row::check(
            "until the last pod uses it",
            "at most 1 s",
            format!("p50 {:.0} ms, at most {:.0} ms", median(&last) * 1e3, most(&last) * 1e3),
            most(&last) <= LAST_MAX.as_secs_f64(),
        ),
        Row::note(
            "the same, in latencies of the root",
            spread(&last.iter().map(|one| one / LATENCY.as_secs_f64()).collect::<Vec<_>>(), ""),
        ),
        Row::note(
            "until the last pod uses it, from when the rotations were sent",
            format!(
                "p50 {:.0} ms, at most {:.0} ms",
                median(&last_sent) * 1e3,
                most(&last_sent) * 1e3
            ),
        ),
        Row::note(
            "calls to the root in a round",
            format!("{calls_max} at most, by {pods} sidecars"),
        ),
    ]
}
