//! PostgreSQL stopped and started again under load, with keys that are in memory.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::join_all;
use keypod_tests::{Answer, Client, Sidecar};
use serde_json::{Value, json};

use super::Shown;
use crate::database::Database;
use crate::figure::{Row, median, most};
use crate::load::{Load, Operation, Pace, Sample, count, failures};
use crate::pods::{Kms, Patience, make_key};
use crate::{now, say};

const PODS: usize = 5;
const PATIENCE: Patience =
    Patience { attempt_timeout: Duration::from_secs(5), retry_interval: Duration::from_secs(1) };
const PACE: Pace = Pace { loops: 1, pause: Duration::from_millis(40) };
/// Load before the stop.
const BEFORE: Duration = Duration::from_secs(1);
/// A change is waited for so long.
const SEEN_MAX: Duration = Duration::from_secs(20);
/// Connecting again is tried at the latest this often, whatever the outage took (`store/postgres/watch.rs`).
const WATCH_PAUSE_MAX: Duration = Duration::from_secs(10);
/// What connecting itself may take beside that.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// A change elsewhere is seen again at once.
const AT_ONCE: Duration = Duration::from_secs(1);

/// One round.
struct Round {
    /// The server was away.
    away: f64,
    /// From when it answered again until the last pod used what another one then changed.
    caught_up: f64,
    /// The same for a second change, from the answer to it.
    at_once: f64,
    samples: Vec<Sample>,
}

pub(super) async fn measure(quick: bool) -> anyhow::Result<Shown> {
    let downtimes: &[u64] = if quick { &[1] } else { &[0, 0, 3, 3, 10, 10] };
    let (kms, database) = (Kms::start()?, Database::start().await?);
    let mut pods = Vec::new();
    for number in 0..PODS {
        let pod = kms.pod(number, PATIENCE)?.store(&database.store());
        pods.push(pod.config("[cache]\nrefresh_after = \"14m\"").start().await);
    }
    let mut rounds = Vec::new();
    for (number, seconds) in downtimes.iter().enumerate() {
        let down = Duration::from_secs(*seconds);
        let round = one_round(&database, &pods, number, down).await?;
        say(&format!(
            "  away for {:.1} s: caught up after {:.3} s, then {:.3} s",
            round.away, round.caught_up, round.at_once
        ));
        rounds.push(round);
    }
    Ok(Shown {
        title: "A restart of PostgreSQL passes unnoticed, and the watch is back soon after",
        run: format!(
            "{PODS} sidecars on one PostgreSQL under a steady load; the server is stopped fast and started again \
             after some seconds; {} rounds. As soon as it answers again one sidecar rotates another key, which the \
             others have in memory and encrypt with, and once all of them use the new version, rotates it again. \
             `refresh_after` is 14 min and none of them is given a ciphertext with the new version, so nothing but \
             the watch tells them.",
            rounds.len()
        ),
        rows: rows_of(&rounds),
        data: json!({
            "away": rounds.iter().map(|round| round.away).collect::<Vec<_>>(),
            "caught_up": rounds.iter().map(|round| round.caught_up).collect::<Vec<_>>(),
            "at_once": rounds.iter().map(|round| round.at_once).collect::<Vec<_>>(),
        }),
    })
}

async fn one_round(
    database: &Database,
    pods: &[Sidecar],
    number: usize,
    down: Duration,
) -> anyhow::Result<Round> {
    let (one, others) = pods.split_first().context("a pod")?;
    let (one, loaded, quiet) =
        (one.client(), format!("loaded-{number}"), format!("quiet-{number}"));
    make_key(&one, &loaded).await?;
    make_key(&one, &quiet).await?;
    until_used(others, &quiet, 1).await?;
    let everyone: Vec<_> = pods.iter().collect();
    let load = Load::start(&everyone, &loaded, PACE);
    tokio::time::sleep(BEFORE).await;
    let stopped = now();
    tokio::task::block_in_place(|| database.server.stop());
    tokio::time::sleep(down).await;
    tokio::task::block_in_place(|| database.server.start_again());
    let answers = now();
    rotate(&one, &quiet, 2).await?;
    let caught_up = until_used(others, &quiet, 2).await?;
    let changed = rotate(&one, &quiet, 3).await?;
    let seen = until_used(others, &quiet, 3).await?;
    let samples = load.stop().await?;
    let since = |at: Instant, then: Instant| at.saturating_duration_since(then).as_secs_f64();
    Ok(Round {
        away: since(answers, stopped),
        caught_up: since(caught_up, answers),
        at_once: since(seen, changed),
        samples,
    })
}

/// Rotates, again and again until the store lets it; says when that was answered.
async fn rotate(client: &Client, key: &str, version: u64) -> anyhow::Result<Instant> {
    let begun = now();
    loop {
        let answer = client.post_json("/v1/rotate", &json!({ "key": key })).await;
        if answer.status == 200 {
            let made = made(&answer);
            anyhow::ensure!(made == Some(version), "the rotation made version {made:?}");
            return Ok(now());
        }
        anyhow::ensure!(begun.elapsed() < SEEN_MAX, "no rotation: {}", answer.code());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Encrypts on each of these until all of them use this version: when the last one answered with it.
async fn until_used(pods: &[Sidecar], key: &str, version: u64) -> anyhow::Result<Instant> {
    let body = json!({ "key": key, "plaintext": "AAAA" });
    let used = pods.iter().map(|pod| {
        let (client, body) = (pod.client(), &body);
        async move {
            let begun = now();
            loop {
                let answer = client.post_json("/v1/encrypt", body).await;
                anyhow::ensure!(answer.status == 200, "a key in memory: {}", answer.code());
                if made(&answer) == Some(version) {
                    return Ok(now());
                }
                anyhow::ensure!(begun.elapsed() < SEEN_MAX, "version {version} is never used");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });
    let used = join_all(used).await.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    used.into_iter().max().context("a pod")
}

fn made(answer: &Answer) -> Option<u64> {
    answer.json().get("key_version").and_then(Value::as_u64)
}

fn rows_of(rounds: &[Round]) -> Vec<Row> {
    let failed_of = |operation| {
        let of = rounds.iter().flat_map(|round| &round.samples);
        count(of.filter(|one| one.is(operation)), |one| !one.served())
    };
    let (sealing, opening) = (failed_of(Operation::Encrypt), failed_of(Operation::Decrypt));
    if sealing.0 + opening.0 > 0 {
        for round in rounds {
            say(&format!("  failed: {}", failures(&round.samples)));
        }
    }
    let away: Vec<_> = rounds.iter().map(|round| round.away).collect();
    let caught_up: Vec<_> = rounds.iter().map(|round| round.caught_up).collect();
    let at_once: Vec<_> = rounds.iter().map(|round| round.at_once).collect();
    let seconds =
        |values: &[f64]| format!("median {:.2} s, at most {:.2} s", median(values), most(values));
    vec![
        Row::note("the server was away for", seconds(&away)),
        Row::none("encryptions that failed", sealing.0, sealing.1),
        Row::none("decryptions that failed", opening.0, opening.1),
        Row::check(
            "from when the server answers until every other pod uses what one of them then changes",
            "at most the watch's longest pause, 10 s, and 2 s to connect",
            seconds(&caught_up),
            most(&caught_up) <= (WATCH_PAUSE_MAX + CONNECT_MAX).as_secs_f64(),
        ),
        Row::check(
            "the next change, from its answer until every other pod uses it",
            "at most 1 s",
            seconds(&at_once),
            most(&at_once) <= AT_ONCE.as_secs_f64(),
        ),
    ]
}
