//! HTTP/2: bursts of streams that are reset as soon as they are opened (CVE-2023-44487), and streams without a
//! window.

use keypod_tests::until;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{TOKEN, Target};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block without compression (RFC 7541, 6.2.2): a literal with a new name, never indexed here.
fn header_block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

fn request_block(method: &str, path: &str) -> Vec<u8> {
    let token = format!("Bearer {TOKEN}");
    header_block(&[
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("authorization", &token),
        ("content-type", "application/octet-stream"),
    ])
}

/// A connection whose preface and settings are sent.
async fn connect(target: &Target, settings: &[u8]) -> TcpStream {
    let mut connection = target.connect().await;
    connection.write_all(PREFACE).await.unwrap();
    connection.write_all(&frame(SETTINGS, 0, 0, settings)).await.unwrap();
    connection
}

#[tokio::test]
async fn a_burst_of_streams_that_are_reset_at_once_is_bounded() {
    let target = Target::start("").await;
    let block = request_block("POST", "/v1/encrypt?key=demo");
    for _ in 0..5 {
        let mut connection = connect(&target, &[]).await;
        for stream in (1..40_000).step_by(2) {
            let mut burst = frame(HEADERS, END_HEADERS, stream, &block);
            burst.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            // The sidecar may close the connection in the middle of it: that is one good answer.
            if connection.write_all(&burst).await.is_err() {
                break;
            }
        }
        target.assert_memory_bounded(64 << 20);
        drop(connection);
    }
    target.assert_unharmed().await;
}

#[tokio::test]
async fn streams_whose_window_stays_shut_are_given_up_and_hold_no_place() {
    let target = Target::start("answer_timeout = \"300ms\"\nin_flight_max = 20").await;
    // SETTINGS_INITIAL_WINDOW_SIZE = 0: the sidecar may answer, but send no body.
    let mut connection = connect(&target, &[0, 4, 0, 0, 0, 0]).await;
    let block = request_block("POST", "/v1/encrypt?key=demo");
    for stream in (1..40).step_by(2) {
        connection.write_all(&frame(HEADERS, END_HEADERS, stream, &block)).await.unwrap();
        let piece = frame(DATA, 0, stream, &[7; 1000]);
        connection.write_all(&piece).await.unwrap();
        connection.write_all(&frame(DATA, END_STREAM, stream, &[7; 1000])).await.unwrap();
    }
    // Its own frames are read, its windows stay shut.
    let (mut reader, writer) = connection.into_split();
    let reading = tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok(1..) = reader.read(&mut buffer).await {}
    });
    until("it has been counted", async || {
        target.sidecar.metric("keypod_operations_total").await >= 20.0
    })
    .await;
    target.assert_unharmed().await;
    drop(writer);
    reading.abort();
}
