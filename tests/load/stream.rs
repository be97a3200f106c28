//! One long stream: 2 GiB of made bytes into `/v1/encrypt`, what comes out into `/v1/decrypt`, what comes out
//! compared with what went in. Nothing is kept on either side.

use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::now;
use crate::process::{KEY, Sidecar};

/// Plaintext bytes of the stream.
const STREAM_BYTES: u64 = 2 << 30;
/// Bytes that go in at once.
const CHUNK_BYTES: usize = 1 << 16;
/// After so many bytes the pattern begins again: a prime, so that no two segments are alike.
const PERIOD_BYTES: usize = 65_521;

/// What the stream took.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Streamed {
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    /// The most that the sidecar ever had resident, less what it had before the stream.
    pub(crate) growth_bytes: u64,
}

pub(crate) async fn measure(keypod: &Path, folder: &Path) -> anyhow::Result<Streamed> {
    let sidecar = Sidecar::start(keypod, folder, None, "group").await?;
    let token = std::fs::read_to_string(&sidecar.token_file)?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let post = |path: &str| {
        let url = format!("http://{}{path}", sidecar.address.tcp);
        let request = client.post(url).bearer_auth(token.trim());
        request.header("content-type", "application/octet-stream")
    };
    let before = sidecar.memory()?;
    let begun = now();
    let plaintext = reqwest::Body::wrap_stream(plaintext());
    let sealed = post(&format!("/v1/encrypt?key={KEY}")).body(plaintext).send().await?;
    let sealed = reqwest::Body::wrap_stream(sealed.error_for_status()?.bytes_stream());
    let opened = post("/v1/decrypt").body(sealed).send().await?.error_for_status()?;
    let pattern = pattern();
    let compare = |at: u64, chunk: Bytes| std::future::ready(compare(&pattern, at, &chunk));
    let opened = opened.bytes_stream().map_err(anyhow::Error::from).try_fold(0, compare).await?;
    anyhow::ensure!(opened == STREAM_BYTES, "{opened} bytes came back of {STREAM_BYTES}");
    let seconds = begun.elapsed().as_secs_f64();
    let growth_bytes = sidecar.memory()?.peak_bytes.saturating_sub(before.resident_bytes);
    sidecar.stop().await?;
    Ok(Streamed { bytes: STREAM_BYTES, seconds, growth_bytes })
}

/// Three periods, so that a chunk, which is a little longer than one, can begin anywhere in the first.
fn pattern() -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let period: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    })
    .take(PERIOD_BYTES)
    .collect();
    period.repeat(3).into()
}

fn plaintext() -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> + Send {
    let pattern = pattern();
    stream::iter((0..STREAM_BYTES).step_by(CHUNK_BYTES)).map(move |at| {
        let start = place(at);
        let rest = usize::try_from(STREAM_BYTES - at).unwrap_or(CHUNK_BYTES);
        Ok(pattern.slice(start..start + rest.min(CHUNK_BYTES)))
    })
}

/// Where in the pattern the stream's byte `at` stands.
fn place(at: u64) -> usize {
    usize::try_from(at % PERIOD_BYTES as u64).unwrap_or(0)
}

/// Compares a chunk that begins at `at` with the pattern, and says where it ends.
fn compare(pattern: &[u8], mut at: u64, chunk: &[u8]) -> anyhow::Result<u64> {
    for piece in chunk.chunks(PERIOD_BYTES) {
        let expected = pattern.get(place(at)..).and_then(|rest| rest.get(..piece.len()));
        let expected = expected.context("a piece is at most one period")?;
        anyhow::ensure!(expected == piece, "the stream came back changed near byte {at}");
        at += piece.len() as u64;
    }
    Ok(at)
}
