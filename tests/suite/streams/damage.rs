//! Damaged streams: an answer breaks off and never ends cleanly, and what it gave before was authentic.

use futures_util::stream;
use keypod_tests::{Client, Sidecar};
use serde_json::{Value, json};

use super::{HEADER, SEALED_SEGMENT, SEGMENT, bytes, context, seal};

/// Segments of a sealed message.
fn segment(sealed: &[u8], index: usize) -> &[u8] {
    let start = HEADER + index * SEALED_SEGMENT;
    &sealed[start..sealed.len().min(start + SEALED_SEGMENT)]
}

fn flipped(sealed: &[u8], at: usize) -> Vec<u8> {
    let mut damaged = sealed.to_vec();
    damaged[at] ^= 0x10;
    damaged
}

fn joined(sealed: &[u8], order: &[usize]) -> Vec<u8> {
    let mut joined = sealed[..HEADER].to_vec();
    order.iter().for_each(|index| joined.extend(segment(sealed, *index)));
    joined
}

/// Damage, and how many whole segments come before it is seen.
fn damages(sealed: &[u8]) -> Vec<(&'static str, Vec<u8>, usize)> {
    let end = sealed.len();
    vec![
        ("a bit of the second segment", flipped(sealed, HEADER + SEALED_SEGMENT), 1),
        ("a bit of the last tag", flipped(sealed, end - 1), 3),
        ("no last byte", sealed[..end - 1].to_vec(), 3),
        ("no last segment", sealed[..HEADER + 3 * SEALED_SEGMENT].to_vec(), 2),
        ("a part of the second segment", sealed[..HEADER + SEALED_SEGMENT + 9].to_vec(), 1),
        ("one byte more", [sealed, &[0]].concat(), 3),
        ("the last segment twice", [sealed, segment(sealed, 3)].concat(), 3),
        ("two segments swapped", joined(sealed, &[0, 2, 1, 3]), 1),
        ("a segment left out", joined(sealed, &[0, 2, 3]), 1),
        ("a segment twice", joined(sealed, &[0, 1, 1, 2, 3]), 2),
    ]
}

async fn clients(sidecar: &Sidecar) -> [Client; 3] {
    let token = std::fs::read_to_string(sidecar.token_file("admin")).unwrap();
    [
        sidecar.client(),
        Client::http2(sidecar.tcp(), Some(&token)),
        Client::unix(&sidecar.socket(), Some(&token)),
    ]
}

#[tokio::test]
async fn a_failure_in_the_middle_breaks_the_answer_off() {
    let sidecar = Sidecar::start().await;
    let plaintext = bytes(3 * SEGMENT + 1_000);
    let sealed = seal(&sidecar.client(), plaintext.clone()).await;
    for client in clients(&sidecar).await {
        for (damage, damaged, whole_segments) in damages(&sealed) {
            for path in ["/v1/decrypt", "/v1/rewrap"] {
                let request = client.octets(path, &context()).body(damaged.clone());
                let (answer, ended_cleanly) = client.send_to_its_end(request).await;
                assert!(matches!(answer.status, 0 | 200), "{damage}: {path} {}", answer.status);
                assert!(!ended_cleanly, "{damage}: {path} ends as if nothing were wrong");
                if path == "/v1/decrypt" {
                    assert!(answer.body.len() <= whole_segments * SEGMENT, "{damage}");
                    assert!(plaintext.starts_with(&answer.body), "{damage}");
                }
            }
        }
    }
    assert!(sidecar.log().contains("a stream was broken off"));
}

#[tokio::test]
async fn what_is_wrong_with_the_first_segment_is_a_plain_refusal() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let sealed = seal(&client, bytes(2 * SEGMENT)).await;
    let one = seal(&client, bytes(100)).await;
    for path in ["/v1/decrypt", "/v1/rewrap"] {
        for damaged in [
            flipped(&sealed, HEADER),
            flipped(&sealed, HEADER - 1),
            flipped(&sealed, 20),
            joined(&sealed, &[1, 0]),
            sealed[..HEADER + SEALED_SEGMENT].to_vec(),
            sealed[..HEADER + 20].to_vec(),
            one[..one.len() - 1].to_vec(),
            [&one[..], &[0]].concat(),
        ] {
            let answer = client.post_octets(path, &context(), damaged.clone()).await;
            answer.assert_problem(400, "decryption_failed");
            let answer = client.post_chunked(path, &context(), damaged).await;
            answer.assert_problem(400, "decryption_failed");
        }
        for short in [&sealed[..0], &sealed[..HEADER], &sealed[..HEADER + 15]] {
            let answer = client.post_octets(path, &context(), short.to_vec()).await;
            answer.assert_problem(400, "invalid_ciphertext");
        }
        let other: Value = json!({ "tenant": "clinic-8" });
        let answer = client.post_octets(path, &other, sealed.clone()).await;
        answer.assert_problem(400, "decryption_failed");
    }
}

#[tokio::test]
async fn segments_of_two_messages_never_make_a_third() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let one = seal(&client, bytes(2 * SEGMENT)).await;
    let two = seal(&client, bytes(2 * SEGMENT)).await;
    let mixed = [&one[..HEADER + SEALED_SEGMENT], segment(&two, 1)].concat();
    let request = client.octets("/v1/decrypt", &context()).body(mixed);
    let (answer, ended_cleanly) = client.send_to_its_end(request).await;
    assert!(matches!(answer.status, 0 | 200) && !ended_cleanly);
}

/// A client that goes away in the middle of its body must not leave a ciphertext that ends cleanly.
#[tokio::test]
async fn a_body_that_breaks_off_breaks_the_answer_off() {
    let sidecar = Sidecar::start().await;
    let client = sidecar.client();
    let parts = [Ok(bytes(3 * SEGMENT)), Err(std::io::Error::other("the source failed"))];
    let body = reqwest::Body::wrap_stream(stream::iter(parts));
    let request = client.octets("/v1/encrypt?key=demo", &context()).body(body);
    let ended_cleanly = match request.send().await {
        Ok(answer) => answer.bytes().await.is_ok(),
        Err(_) => false,
    };
    assert!(!ended_cleanly);
    client.encrypt("demo", b"the next one is served", &json!({})).await;
}
