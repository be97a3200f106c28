//! Moves one input through the sidecar to its output.
//!
//! Depends on [`super::input`], [`super::sink`] and [`crate::cli::client`]. Bytes go through the API's binary
//! routes, streamed both ways; text form goes through its JSON routes, whole. Nothing here is secret but what
//! passes through, which is wiped where this program holds it alone.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::Operation;
use super::input::Input;
use super::plan::{Destination, Job};
use super::progress::Progress;
use super::sink::{Readers, Sink, check_free};
use crate::cli::client::{Client, OCTET_STREAM, has_a_marked_end, wipe};
use crate::cli::context::EncryptionContext;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::names::KeyName;

/// Longest plaintext in text form: with base64 and a full context, below the API's 4 MiB.
const TEXT_PLAINTEXT_BYTES_MAX: usize = (3 << 20) - (256 << 10);
/// Longest ciphertext in text form.
const TEXT_CIPHERTEXT_BYTES_MAX: usize = (4 << 20) - (128 << 10);

/// What is done to every input.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) operation: Operation,
    pub(super) context: Option<EncryptionContext>,
    /// Text form is asked for.
    pub(super) text: bool,
    /// Ciphertext may go to a terminal as bytes.
    pub(super) bytes_to_terminal: bool,
}

/// What was done.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) bytes_written: u64,
    pub(super) key: Option<String>,
    pub(super) key_version: Option<u64>,
}

/// Does one job. Without success there is no output file.
pub(super) async fn transfer(
    client: &mut Client,
    work: &Work,
    job: &Job,
    progress: &Progress,
) -> anyhow::Result<Done> {
    check_free(&job.destination)?;
    let input = Input::open(&job.source).await?;
    let attributes = input.attributes;
    let readers = match work.operation {
        Operation::Encrypt { .. } => Readers::AsInput(attributes),
        Operation::Decrypt { .. } => Readers::Owner,
        Operation::Rewrap { .. } => Readers::AsReplaced(attributes),
    };
    let as_text = match work.operation {
        Operation::Encrypt { .. } => work.text,
        Operation::Decrypt { .. } | Operation::Rewrap { .. } => {
            anyhow::ensure!(input.is_text() || !work.text, "not a ciphertext in text form");
            input.is_text()
        }
    };
    if as_text {
        return transfer_text(client, work, job, input, readers).await;
    }
    let is_plaintext = matches!(work.operation, Operation::Decrypt { .. });
    if job.destination == (Destination::Stdout { asked: false })
        && output::is_terminal()
        && !is_plaintext
        && !work.bytes_to_terminal
    {
        let hint = "ciphertext bytes are not for a terminal: use --text or --output";
        return Err(Failure::usage(hint));
    }
    transfer_bytes(client, work, job, input, readers, progress).await
}

async fn transfer_bytes(
    client: &mut Client,
    work: &Work,
    job: &Job,
    input: Input,
    readers: Readers,
    progress: &Progress,
) -> anyhow::Result<Done> {
    let mut request = binary_request(work)?;
    if let Some(length) = input.length {
        request = request.header(CONTENT_LENGTH, length);
    }
    let (body, reading) = input.into_body(progress);
    let sent = async {
        let response = client.send(request.body(body)?).await?;
        anyhow::ensure!(
            has_a_marked_end(&response),
            "the sidecar's answer has neither a length nor chunks: a broken one could not be told"
        );
        let (head, body) = response.into_parts();
        let (key, key_version) = key_of(&head.headers);
        check_key(work, key.as_deref())?;
        let mut sink = Sink::open(&job.destination, readers)?;
        let bytes_written = receive(body, &mut sink).await?;
        anyhow::Ok((sink, Done { bytes_written, key, key_version }))
    };
    match sent.await {
        Ok((sink, done)) => {
            reading.ended().await?;
            sink.finish()?;
            Ok(done)
        }
        Err(error) => {
            client.disconnect();
            // If the input failed, the sidecar's side of the story says only that.
            Err(reading.failure().unwrap_or(error))
        }
    }
}

fn binary_request(work: &Work) -> anyhow::Result<http::request::Builder> {
    let (path, new_context) = match &work.operation {
        Operation::Encrypt { key } => (format!("/v1/encrypt?key={key}"), None),
        Operation::Decrypt { .. } => ("/v1/decrypt".to_owned(), None),
        Operation::Rewrap { new_context } => ("/v1/rewrap".to_owned(), new_context.as_ref()),
    };
    let mut request =
        Request::builder().method(Method::POST).uri(path).header(CONTENT_TYPE, OCTET_STREAM);
    if let Some(context) = &work.context {
        request = request.header("keypod-context", context.to_header()?);
    }
    if let Some(context) = new_context {
        request = request.header("keypod-new-context", context.to_header()?);
    }
    Ok(request)
}

/// Writes a whole answer to `sink`, and returns its bytes.
async fn receive(mut body: Incoming, sink: &mut Sink) -> anyhow::Result<u64> {
    let mut received = 0_u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.context(
            "the sidecar broke its answer off: the input is damaged, not Keypod's, for another \
             context, or the sidecar stopped; what was written so far is not whole",
        )?;
        if let Ok(data) = frame.into_data() {
            sink.write(&data)?;
            received = received.saturating_add(data.len() as u64);
            wipe(data);
        }
    }
    Ok(received)
}

fn key_of(headers: &HeaderMap) -> (Option<String>, Option<u64>) {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let version = text("keypod-key-version").and_then(|text| text.parse().ok());
    (text("keypod-key").map(str::to_owned), version)
}

fn check_key(work: &Work, key: Option<&str>) -> anyhow::Result<()> {
    match &work.operation {
        Operation::Decrypt { key: Some(expected) } => {
            anyhow::ensure!(
                key == Some(expected.as_str()),
                "it was not encrypted with the key {expected}"
            );
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A request of the JSON routes.
#[derive(Serialize)]
struct TextRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_context: Option<Value>,
}

/// An answer of the JSON routes.
#[derive(Deserialize)]
struct TextAnswer {
    ciphertext: Option<String>,
    plaintext: Option<String>,
    key: Option<String>,
    key_version: Option<u64>,
}

async fn transfer_text(
    client: &mut Client,
    work: &Work,
    job: &Job,
    input: Input,
    readers: Readers,
) -> anyhow::Result<Done> {
    let (path, bytes_max) = match work.operation {
        Operation::Encrypt { .. } => ("/v1/encrypt", TEXT_PLAINTEXT_BYTES_MAX),
        Operation::Decrypt { .. } => ("/v1/decrypt", TEXT_CIPHERTEXT_BYTES_MAX),
        Operation::Rewrap { .. } => ("/v1/rewrap", TEXT_CIPHERTEXT_BYTES_MAX),
    };
    let request = text_request(work, &input.read_whole(bytes_max).await?)?;
    let answer = client.exchange(Method::POST, path, Some(request)).await?;
    let answer: TextAnswer = serde_json::from_slice(&answer)
        .map_err(|_| anyhow::anyhow!("the sidecar's answer is not what its API says"))?;
    check_key(work, answer.key.as_deref())?;
    let result = if let Operation::Decrypt { .. } = work.operation {
        let plaintext = answer.plaintext.context("the sidecar's answer has no plaintext")?;
        let plaintext = Zeroizing::new(plaintext);
        let mut bytes = Zeroizing::new(Vec::with_capacity(plaintext.len()));
        let decoded = STANDARD.decode_vec(plaintext.as_bytes(), &mut bytes);
        decoded.map_err(|_| anyhow::anyhow!("the sidecar's plaintext is not base64"))?;
        bytes
    } else {
        let ciphertext = answer.ciphertext.context("the sidecar's answer has no ciphertext")?;
        Zeroizing::new(format!("{ciphertext}\n").into_bytes())
    };
    let mut sink = Sink::open(&job.destination, readers)?;
    sink.write(&result)?;
    sink.finish()?;
    let bytes_written = result.len() as u64;
    Ok(Done { bytes_written, key: answer.key, key_version: answer.key_version })
}

/// The JSON of one request, in a buffer that is long enough from the start: one that grows leaves unwiped
/// copies behind.
fn text_request(work: &Work, input: &[u8]) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let context = work.context.as_ref().map(EncryptionContext::to_json);
    let mut plaintext = Zeroizing::new(String::new());
    let mut request =
        TextRequest { key: None, plaintext: None, ciphertext: None, context, new_context: None };
    match &work.operation {
        Operation::Encrypt { key } => {
            plaintext.reserve_exact(input.len().div_ceil(3).saturating_mul(4));
            STANDARD.encode_string(input, &mut plaintext);
            request.plaintext = Some(&plaintext);
            request.key = Some(KeyName::as_str(key));
        }
        Operation::Decrypt { .. } => request.ciphertext = Some(ciphertext_text(input)?),
        Operation::Rewrap { new_context } => {
            request.ciphertext = Some(ciphertext_text(input)?);
            request.new_context = new_context.as_ref().map(EncryptionContext::to_json);
        }
    }
    let contexts = [&request.context, &request.new_context];
    let context_bytes: usize =
        contexts.into_iter().flatten().map(|json| json.to_string().len()).sum();
    let bytes = plaintext.len().max(input.len()) + context_bytes + 256;
    let mut json = Zeroizing::new(Vec::with_capacity(bytes));
    serde_json::to_writer(&mut *json, &request)?;
    Ok(json)
}

/// A ciphertext in text form, without the line end that an editor or `echo` put after it.
fn ciphertext_text(input: &[u8]) -> anyhow::Result<&str> {
    Ok(std::str::from_utf8(input).context("not a ciphertext in text form")?.trim())
}
