//! Who guesses credentials.

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use keypod_tests::{Client, Raw, Sidecar, WAIT_MAX, until};
use serde_json::json;

const TOKEN: &str = "admin-token-0123456789abcdefghij";

#[tokio::test]
async fn wrong_credentials_are_answered_slower_and_slower_and_right_ones_at_once() {
    let sidecar = Sidecar::start().await;
    let counted = async || sidecar.metric("keypod_authentication_failures_total").await;
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
    let counting = async {
        while !all_counted {
            tokio::select! {
                Some(()) = guesses.next() => answered += 1,
                count = counted() => all_counted = count >= 80.0,
            }
        }
    };
    tokio::time::timeout(WAIT_MAX, counting).await.expect("each of them is counted");
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

#[tokio::test]
async fn who_hangs_up_before_the_answer_is_counted_all_the_same() {
    let sidecar = Sidecar::start().await;
    let guess = "GET /v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer guess-0123456789abcdefghijkl\r\n\r\n";
    for number in 0..40 {
        // Half a request more: so that the end of the connection is not seen before the answer is due.
        let guess = format!("{guess}G");
        let mut raw = match number % 2 {
            0 => Raw::tcp(sidecar.tcp()).await,
            _ => Raw::unix(&sidecar.socket()).await,
        };
        raw.send(guess).await;
    }
    until("each of them is counted", async || {
        sidecar.metric("keypod_authentication_failures_total").await >= 40.0
    })
    .await;
    sidecar.client().encrypt("demo", b"at once", &json!({})).await;
}
