//! One request to a witness and its answer: over TLS (rustls over aws-lc-rs), or plain on this machine.

use std::path::Path;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, Url};
use rustls::ClientConfig;

use super::{AskError, ClientError, WitnessSettings};
use crate::root::is_this_machine;
use crate::tls::{self, TlsError};
use crate::{file, unreached};

/// Longer than sixteen cosignatures.
const ANSWER_BYTES_MAX: usize = 16 << 10;
const PEM_BYTES_MAX: u64 = 1 << 20;

/// How a witness is reached.
pub(super) struct Transport {
    client: Client,
    prefix: Url,
}

/// What it answered, where that is its last word.
pub(super) struct Answer {
    pub(super) status: u16,
    body: Vec<u8>,
}

impl Answer {
    /// The body, or nothing where it is no text.
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_default()
    }
}

impl Transport {
    pub(super) fn new(settings: &WitnessSettings) -> Result<Self, ClientError> {
        let prefix = prefix(settings)?;
        let tls = tls(settings.ca_file.as_deref(), prefix.scheme() == "https")?;
        let mut client = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .http1_only()
            .timeout(settings.attempt_timeout)
            .pool_max_idle_per_host(1);
        if let Some(path) = &settings.socket {
            client = client.unix_socket(path.clone());
        }
        let client = client.build().map_err(unusable)?;
        Ok(Self { client, prefix })
    }

    /// Asks `path` below the prefix. What may pass is an error; every other status is an answer.
    pub(super) async fn post(&self, path: &str, body: Vec<u8>) -> Result<Answer, AskError> {
        let mut url = self.prefix.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push(path);
        }
        let request = self.client.post(url).header(CONTENT_TYPE, "text/plain; charset=utf-8");
        let response = request.body(body).send().await.map_err(|error| unreached(&error))?;
        let (status, retry_after) = (response.status().as_u16(), retry_after(&response));
        if status == 429 || status >= 500 {
            let reason = format!("it answered {status}");
            return Err(AskError::Unavailable { reason, retry_after });
        }
        Ok(Answer { status, body: read(response).await? })
    }
}

fn prefix(settings: &WitnessSettings) -> Result<Url, ClientError> {
    let url = settings.url.parse::<Url>().map_err(|_| ClientError::Address)?;
    let bare = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    let host = url.host_str().ok_or(ClientError::Address)?;
    let safe = match url.scheme() {
        "https" => true,
        "http" => settings.socket.is_some() || is_this_machine(host),
        _ => false,
    };
    if bare && safe { Ok(url) } else { Err(ClientError::Address) }
}

fn unreached(error: &reqwest::Error) -> AskError {
    let mend = "set ca_file to the authority that signed the witness's";
    AskError::Unavailable { reason: unreached::reason(error, mend), retry_after: None }
}

/// `Retry-After` in seconds.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

async fn read(mut response: Response) -> Result<Vec<u8>, AskError> {
    let mut answer = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| unreached(&error))? {
        if answer.len() + piece.len() > ANSWER_BYTES_MAX {
            return Err(AskError::BadAnswer);
        }
        answer.extend_from_slice(&piece);
    }
    Ok(answer)
}

fn tls(ca_file: Option<&Path>, needed: bool) -> Result<ClientConfig, ClientError> {
    let no_certificate = |path: &Path| ClientError::CaFile { path: path.to_owned() };
    let read = |path: &Path| file::read(path, PEM_BYTES_MAX).map_err(|_| no_certificate(path));
    let pem = ca_file.map(read).transpose()?;
    let builder = tls::builder(pem.as_deref(), needed);
    let builder = builder.map_err(|error| match (error, ca_file) {
        (TlsError::NoCertificate, Some(path)) => no_certificate(path),
        (TlsError::NoAuthorities(source) | TlsError::Library(source), _) => unusable(source),
        (error, None) => unusable(error),
    })?;
    Ok(builder.with_no_client_auth())
}

fn unusable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
    ClientError::Client { source: source.into() }
}
