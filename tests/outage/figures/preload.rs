//! Many keys in memory before the sidecar is ready, from a root with a usual latency.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use super::Shown;
use crate::figure::{Row, most, spread};
use crate::pods::{Kms, Patience, make_key};
use crate::{now, say};

/// From exec to ready.
const READY_MAX: Duration = Duration::from_secs(2);
/// Of the root.
const LATENCY: Duration = Duration::from_millis(20);

pub(super) async fn measure(quick: bool) -> anyhow::Result<Shown> {
    let (keys, rounds) = if quick { (200, 2) } else { (1_000, 7) };
    let patience = Patience {
        attempt_timeout: Duration::from_secs(5),
        retry_interval: Duration::from_secs(1),
    };
    let kms = Kms::start()?;
    kms.stand_in.remember();
    let mut pod = kms.pod(0, patience)?.start().await;
    let names: Vec<_> = (0..keys).map(|number| format!("key-{number}")).collect();
    let client = pod.client();
    let made = stream::iter(&names).map(|name| make_key(&client, name)).buffer_unordered(8);
    made.try_collect::<()>().await?;
    say(&format!("  {keys} keys are made"));
    pod.set_variable("KEYPOD_CACHE__PRELOAD", &json!(names).to_string());
    kms.stand_in.set_latency(LATENCY);
    let (mut seconds, mut calls) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        anyhow::ensure!(pod.stop().await.success(), "the sidecar did not end in order");
        let before = kms.stand_in.count("Decrypt");
        let begun = now();
        pod.restart().await;
        let took = begun.elapsed().as_secs_f64();
        calls.push(kms.stand_in.count("Decrypt") - before);
        say(&format!("  round {round}: ready after {took:.3} s"));
        seconds.push(took);
        let status = pod.client().get("/v1/status").await.json();
        let versions = status.pointer("/cache/versions").and_then(|versions| versions.as_array());
        let made = |version: &&Value| version.get("key") != Some(&json!("keypod.audit"));
        let held = versions.into_iter().flatten().filter(made).count();
        anyhow::ensure!(held == keys, "{held} of {keys} keys are in memory when it is ready");
    }
    let calls_max = calls.iter().copied().max().unwrap_or_default();
    let rows = vec![
        Row::check(
            "from exec to ready",
            "at most 2 s",
            spread(&seconds, " s"),
            most(&seconds) <= READY_MAX.as_secs_f64(),
        ),
        Row::note(
            "the same, in latencies of the root",
            spread(&seconds.iter().map(|one| one / LATENCY.as_secs_f64()).collect::<Vec<_>>(), ""),
        ),
        Row::note(
            "calls to the root for it",
            format!("{calls_max} at most, for {keys} keys and `keypod.audit`"),
        ),
    ];
    Ok(Shown {
        title: "A thousand keys are in memory before the sidecar is ready",
        run: format!(
            "{keys} keys named in `cache.preload`, each wrapped by a root that answers after 20 ms; {rounds} starts. \
             Time counts from before the process is started until it says that it is ready; all keys are in memory \
             then. The stand-in repeats what moto answered to the same call before, so that the root's latency is \
             what was set, and not what moto needs for a thousand calls."
        ),
        rows,
        data: json!({ "seconds": seconds, "calls": calls }),
    })
}
