//! Copies as logs of OpenTelemetry, over HTTP in protobuf (OTLP 1.x).
//!
//! What is sent again, after how long, and what is dropped, is as the protocol's specification has it: 429, 502, 503, 504 and
//! no answer are tried again, after `Retry-After` where it is said; every other failure is final. Redirects and proxies
//! are not followed, and of an answer no more is read than [`ANSWER_BYTES_MAX`]
//! (`an_answer_without_an_end_is_not_read_to_it`). Headers come from a file that is read for each request, and no log shows
//! them.

mod headers;
mod request;

use std::collections::VecDeque;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use prost::Message as _;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};

use super::backlog::BatchLimit;
use super::copy::is_to_be_missed;
use super::tally::Tally;
use super::target::{Fault, Target};
use super::{OtlpSettings, SinkError, tls};
use crate::audit::Event;
use crate::clock::Clock;
use crate::error_chain::error_chain;
use crate::unreached;
use request::Requests;

pub(super) const NAME: &str = "otlp";
/// Of the entries of a request. Collectors take 4 MiB and more, with what stands around them.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// An answer says how many records were refused, and in some words why.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// A collector of OpenTelemetry.
#[derive(Debug)]
pub(super) struct Otlp {
    client: Client,
    address: String,
    headers_file: Option<PathBuf>,
    gzip: bool,
    limit: BatchLimit,
    requests: Requests,
    clock: Arc<dyn Clock>,
}

/// What a collector made of a request.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// It took it, all but so many records.
    Taken { rejected: u64 },
    /// It never will.
    Refused(StatusCode),
}

impl Otlp {
    pub(super) fn open(
        settings: &OtlpSettings,
        instance: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SinkError> {
        let in_the_clear = settings.address.starts_with("http://");
        let (ca_file, identity) = (settings.ca_file.as_deref(), settings.client_identity.as_ref());
        let client = Client::builder()
            .tls_backend_preconfigured(tls::config(NAME, in_the_clear, ca_file, identity)?)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(settings.timeout)
            .pool_max_idle_per_host(1)
            .user_agent(concat!("keypod/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|source| SinkError::Client { sink: NAME, source: source.into() })?;
        if let Some(path) = &settings.headers_file {
            headers::read(path)?;
        }
        Ok(Self {
            client,
            address: settings.address.clone(),
            headers_file: settings.headers_file.clone(),
            gzip: settings.gzip,
            limit: BatchLimit {
                events: settings.batch_entries_max,
                bytes: BATCH_BYTES_MAX,
                wait: settings.batch_wait,
            },
            requests: Requests::new(instance),
            clock,
        })
    }

    async fn post(&self, message: Vec<u8>) -> Result<Answer, Fault> {
        let mut request = self.client.post(&self.address);
        if let Some(path) = &self.headers_file {
            // The file may change any time: it is read for each request.
            let read = headers::read(path).map_err(|error| Fault::new(error_chain(&error)))?;
            request = request.headers(read);
        }
        request = request.header(CONTENT_TYPE, "application/x-protobuf");
        request = match self.gzip.then(|| compressed(&message)).flatten() {
            Some(compressed) => request.header(CONTENT_ENCODING, "gzip").body(compressed),
            None => request.body(message),
        };
        let response = request.send().await.map_err(|error| self.unreached(&error))?;
        match response.status() {
            status if status.is_success() => {
                let rejected = rejected(self.read(response).await?);
                Ok(Answer::Taken { rejected })
            }
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Err(Fault {
                reason: format!("{}: answered with {}", self.address, response.status()),
                after: retry_after(&response),
            }),
            status => Ok(Answer::Refused(status)),
        }
    }

    /// The answer, or nothing if it is too long: then what it would say is not known, and its status is good.
    async fn read(&self, mut response: Response) -> Result<Vec<u8>, Fault> {
        let mut answer = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.unreached(&error))? {
            if answer.len() + piece.len() > ANSWER_BYTES_MAX {
                return Ok(Vec::new());
            }
            answer.extend_from_slice(&piece);
        }
        Ok(answer)
    }

    fn unreached(&self, error: &reqwest::Error) -> Fault {
        let mend = "set audit.otlp.ca_file to the authority that signed the collector's";
        Fault::new(format!("{}: {}", self.address, unreached::reason(error, mend)))
    }
}

fn compressed(message: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // To compress into memory cannot fail.
    encoder.write_all(message).ok()?;
    encoder.finish().ok()
}

/// How many records a good answer says were not taken. One that does not read says nothing.
fn rejected(answer: Vec<u8>) -> u64 {
    let answer = ExportLogsServiceResponse::decode(answer.as_slice()).unwrap_or_default();
    let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_log_records);
    u64::try_from(rejected).unwrap_or(0)
}

/// Whole seconds. The other form, a date, is not heeded: the wait between two tries is then Keypod's own.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[async_trait]
impl Target for Otlp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn limit(&self) -> BatchLimit {
        self.limit
    }

    async fn send(&mut self, events: &mut VecDeque<Event>, tally: &Tally) -> Result<(), Fault> {
        let answer = self.post(self.requests.form(events, self.clock.unix_millis())).await?;
        match answer {
            Answer::Taken { rejected } => {
                let entries = events.iter().filter(|event| matches!(event, Event::Entry { .. }));
                let entries = u64::try_from(entries.count()).unwrap_or(0);
                let missed = events.iter().filter(|event| is_to_be_missed(event)).count();
                let rejected = rejected.min(entries);
                tally.take_some(entries - rejected);
                tally.lose_some(rejected, rejected.min(u64::try_from(missed).unwrap_or(0)));
                events.clear();
                match rejected {
                    0 => Ok(()),
                    _ => Err(Fault::new(format!("{}: refused some records", self.address))),
                }
            }
            Answer::Refused(status) => {
                events.drain(..).for_each(|event| tally.lose(&event));
                Err(Fault::new(format!("{}: answered with {status}", self.address)))
            }
        }
    }

    async fn check(&mut self) -> Result<String, Fault> {
        match self.post(Vec::new()).await? {
            Answer::Taken { .. } => Ok(format!("{}, answers", self.address)),
            Answer::Refused(status) => {
                Err(Fault::new(format!("{}: answered with {status}", self.address)))
            }
        }
    }
}

#[cfg(test)]
mod tests;
