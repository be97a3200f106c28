//! Requests on connections that are open already, all written at once: so cheap a client that the answers' times are
//! the server's.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::now;

/// Connections that are made at once; the rest of them wait, so that the listener's queue does not overflow.
const CONNECTING_MAX: usize = 64;

/// What came of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    /// From before the first request of all was written until this answer was whole.
    pub(crate) after: Duration,
}

/// Opens `count` connections.
pub(crate) async fn connect(address: SocketAddr, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    let connections = (0..count).map(|_| TcpStream::connect(address));
    let connections = stream::iter(connections).buffer_unordered(CONNECTING_MAX);
    connections.try_collect().await.context("a connection was not accepted")
}

/// The bytes of a `POST` of JSON.
pub(crate) fn post(path: &str, token: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Writes a request on each connection, in turn of `requests`, and waits for all answers.
pub(crate) async fn all_at_once(
    connections: Vec<TcpStream>,
    requests: &[Vec<u8>],
) -> anyhow::Result<Vec<Answered>> {
    let begun = now();
    let mut tasks = Vec::with_capacity(connections.len());
    for (mut connection, request) in connections.into_iter().zip(requests.iter().cycle()) {
        let request = request.clone();
        tasks.push(tokio::spawn(async move {
            connection.write_all(&request).await?;
            answer(&mut connection, begun).await
        }));
    }
    let mut answers = Vec::with_capacity(tasks.len());
    for task in tasks {
        answers.push(task.await??);
    }
    Ok(answers)
}

async fn answer(connection: &mut TcpStream, begun: Instant) -> anyhow::Result<Answered> {
    let mut bytes = Vec::new();
    loop {
        let read = connection.read_buf(&mut bytes).await?;
        anyhow::ensure!(read > 0, "a connection ended before its answer was whole");
        if let Some(status) = whole(&bytes) {
            return Ok(Answered { status, after: begun.elapsed() });
        }
    }
}

/// The status, once head and body are there.
fn whole(bytes: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    })?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    (body.len() >= length).then_some(status)
}
