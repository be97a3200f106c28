//! Thousands of requests at once for a key that is not in memory: one call to the root, and nobody waits for long.

use std::time::Duration;

use serde_json::json;

use super::Shown;
use crate::figure::{Row, median, most, spread};
use crate::pods::{Kms, Patience, start_anew};
use crate::{say, wire};

/// Of the root's own latency.
const SLOWEST_MAX: f64 = 1.5;

pub(super) async fn measure(quick: bool) -> anyhow::Result<Shown> {
    let (requests, rounds) = if quick { (500, 1) } else { (3_000, 5) };
    let latency = Duration::from_secs(2);
    let patience = Patience {
        attempt_timeout: Duration::from_secs(10),
        retry_interval: Duration::from_secs(1),
    };
    let kms = Kms::start()?;
    let limits =
        "[limits]\nin_flight_max = 4000\ncaller_in_flight_max = 4000\nconnections_max = 4000\n";
    let mut pod = kms.pod(0, patience)?.config(limits).key("demo").start().await;
    let ciphertext = pod.client().encrypt("demo", b"hello", &json!({})).await;
    let (mut calls, mut refused, mut ratios) = (Vec::new(), 0, Vec::new());
    for round in 1..=rounds {
        kms.stand_in.set_latency(Duration::ZERO);
        start_anew(&mut pod).await?;
        let token = std::fs::read_to_string(pod.token_file("admin"))?;
        let bodies = [
            ("/v1/encrypt", json!({ "key": "demo", "plaintext": "AAAA" })),
            ("/v1/decrypt", json!({ "ciphertext": ciphertext })),
        ];
        let bodies = bodies.map(|(path, body)| wire::post(path, token.trim(), &body));
        let connections = wire::connect(pod.tcp(), requests).await?;
        kms.stand_in.set_latency(latency);
        let before = kms.stand_in.count("Decrypt");
        let answers = wire::all_at_once(connections, &bodies).await?;
        calls.push(kms.stand_in.count("Decrypt") - before);
        refused += answers.iter().filter(|answer| answer.status != 200).count();
        let after: Vec<_> = answers
            .iter()
            .map(|answer| answer.after.as_secs_f64() / latency.as_secs_f64())
            .collect();
        say(&format!("  round {round}: the slowest answer after {:.3} latencies", most(&after)));
        ratios.push(most(&after));
    }
    let all = requests * rounds;
    let counted: Vec<_> = calls.iter().map(ToString::to_string).collect();
    let rows = vec![
        Row::check(
            "calls to the root in each round",
            "1",
            counted.join(", "),
            calls.iter().all(|calls| *calls == 1),
        ),
        Row::check(
            "the slowest answer of a round, in latencies of the root",
            "at most 1.5",
            spread(&ratios, ""),
            most(&ratios) <= SLOWEST_MAX,
        ),
        Row::none("requests that were not served", refused, all),
    ];
    Ok(Shown {
        title: "Cold requests at once make one call to the root",
        run: format!(
            "{requests} requests on as many open connections, all written at once, half of them encrypting and half \
             decrypting with one key that is not in memory; {rounds} rounds, each with a fresh process. The root \
             answers after 2 s: long enough that two cores can do the HTTP work of all clients and the server \
             beside it. Time counts from before the first request is written."
        ),
        rows,
        data: json!({ "calls": calls, "slowest": ratios, "median_of_slowest": median(&ratios) }),
    })
}
