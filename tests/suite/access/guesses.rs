//! Who guesses credentials.

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use keypod_tests::{Client, Sidecar, until};
use serde_json::json;

const TOKEN: &str = "admin-token-0123456789abcdefghij";

#[tokio::test]
async fn wrong_credentials_are_answered_slower_and_slower_and_right_ones_at_once() {
    let sidecar = Sidecar::start().await;
    let uid = rustix::process::geteuid().as_raw();
    let series = format!("keypod_authentication_failures_total{{source=\"uid {uid}\"}} ");
    let counted = async || {
        let text = sidecar.observe("/metrics").await.body;
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().find_map(|line| line.strip_prefix(&series)?.parse::<u32>().ok()).unwrap_or(0)
    };
    let mut guesses = FuturesUnordered::new();
    for number in 0..80 {
        let token = format!("guess-{number:032}");
        let guesser = if number % 2 == 0 {
            Client::tcp(sidecar.tcp(), Some(&token))
        } else {
            Client::unix(&sidecar.socket(), Some(&token))
        };
        guesses.push(async move {
            guesser.get("/v1/status").await.assert_problem(401, "unauthenticated");
        });
    }
    let (mut answered, mut all_counted) = (0, false);
    while !all_counted {
        tokio::select! {
            Some(()) = guesses.next() => answered += 1,
            count = counted() => all_counted = count == 80,
        }
    }
    // The same user, on both ways in, with the right credential.
    for client in [sidecar.client(), Client::unix(&sidecar.socket(), Some(TOKEN))] {
        client.encrypt("demo", b"at once", &json!({})).await;
    }
    assert!(answered >= 10, "the first are answered at once");
    assert!(!guesses.is_empty(), "the last are held back");
    drop(guesses);
    until("who goes away holds nothing", async || {
        sidecar.metric("keypod_requests_in_flight").await == 0.0
    })
    .await;
}
