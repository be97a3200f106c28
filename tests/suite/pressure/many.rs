//! Many clients, and more connections than there are places.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keypod_tests::{Client, until};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{TOKEN, Target, head};

#[tokio::test]
async fn connections_past_the_limit_are_closed_and_places_come_back() {
    let target = Target::start("connections_max = 100\nheader_timeout = \"1h\"").await;
    let mut held = Vec::new();
    let limited = async || target.sidecar.metric("keypod_limited_total").await;
    for _ in 0..2000 {
        held.push(target.connect().await);
    }
    until("all but the places are refused", async || limited().await >= 1900.0).await;
    let mut closed = 0;
    for connection in &mut held {
        let mut byte = [0];
        let read = connection.read(&mut byte);
        let ended = tokio::time::timeout(Duration::from_millis(1), read).await;
        closed += u32::from(ended.is_ok());
    }
    assert!((1900..=1950).contains(&closed), "{closed} of 2000 were closed");
    assert_eq!(target.sidecar.observe("/readyz").await.status, 200, "health has its own places");
    drop(held);
    until_there_is_a_place(&target).await;
    target.assert_unharmed().await;
}

#[tokio::test]
async fn half_open_connections_hold_a_place_only_until_their_time_is_up() {
    let target = Target::start("connections_max = 50\nheader_timeout = \"300ms\"").await;
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..50 {
        held.push(target.connect().await);
    }
    until_there_is_a_place(&target).await;
    target.assert_unharmed().await;
    drop(held);
}

/// Waits until a new connection is served.
async fn until_there_is_a_place(target: &Target) {
    let status = head("GET", "/v1/status", "Connection: close\r\n");
    until("there is a place again", async || {
        let mut connection = target.connect().await;
        let mut text = String::new();
        let _ = connection.write_all(status.as_bytes()).await;
        connection.read_to_string(&mut text).await.is_ok() && text.starts_with("HTTP/1.1 200")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_clients_at_once_get_all_their_answers_and_each_its_own() {
    const CLIENTS: u64 = 200;
    const TURNS: u64 = 20;
    let target = Arc::new(Target::start("").await);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (tcp, socket) = (target.sidecar.tcp(), target.sidecar.socket());
            tokio::spawn(async move {
                let client = match number % 4 {
                    0 => Client::unix(&socket, Some(TOKEN)),
                    1 => Client::http2(tcp, Some(TOKEN)),
                    _ => Client::tcp(tcp, Some(TOKEN)),
                };
                for turn in 0..TURNS {
                    go_round(&client, number, turn).await;
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    let key = target.client().get("/v1/keys/demo").await.json();
    // Two of each round, and the one at the start of the test.
    assert_eq!(key["versions"][0]["messages_used"], CLIENTS * TURNS * 2 + 1);
    target.assert_unharmed().await;
}

/// One message in JSON and one streamed, there and back; each client has its own bytes and context.
async fn go_round(client: &Client, number: u64, turn: u64) {
    let context = json!({ "client": number.to_string(), "turn": turn.to_string() });
    let plaintext = format!("{number}/{turn}/").repeat(1 + usize::try_from(turn).unwrap() * 40);
    let body =
        json!({ "key": "demo", "plaintext": STANDARD.encode(&plaintext), "context": context });
    let sealed = client.post_json("/v1/encrypt", &body).await;
    assert_eq!(sealed.status, 200, "{}", String::from_utf8_lossy(&sealed.body));
    let ciphertext = sealed.json()["ciphertext"].as_str().unwrap().to_owned();
    assert_eq!(client.decrypt(&ciphertext, &context).await, plaintext.as_bytes());
    let long = plaintext.repeat(if turn == 0 { 3000 } else { 3 }).into_bytes();
    let sealed = client.post_octets("/v1/encrypt?key=demo", &context, long.clone()).await;
    let opened = client.post_octets("/v1/decrypt", &context, sealed.body).await;
    assert!(opened.body == long, "client {number} turn {turn}: {}", opened.status);
}
