//! Sends the same request over and over, and counts.
//!
//! Depends on [`crate::cli::client`] and [`crate::clock`]. Nothing is made in the loop that could be made before
//! it: a request costs a copy of its headers, and a reference to its body.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use http::header::CONTENT_TYPE;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full};

use crate::cli::client::{Connection, Endpoint, OCTET_STREAM};
use crate::clock::Clock;

/// Latencies are told apart from here, in nanoseconds, ...
const LATENCY_NS_MIN: u64 = 1_000;
/// ... to here; a slower one counts as this.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Significant digits of a latency.
const DIGITS: u8 = 3;

/// One request, to be sent many times.
#[derive(Clone, Debug)]
pub(super) struct Target {
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Target {
    /// A request with a JSON body.
    pub(super) fn json(endpoint: &Endpoint, path: PathAndQuery, body: Bytes) -> Self {
        Self::of(endpoint, path, HeaderValue::from_static("application/json"), body)
    }

    /// A request with a body of bytes and this value of `Keypod-Context`.
    pub(super) fn binary(
        endpoint: &Endpoint,
        path: PathAndQuery,
        context: HeaderValue,
        body: Bytes,
    ) -> Self {
        let mut target = Self::of(endpoint, path, OCTET_STREAM, body);
        target.headers.insert("keypod-context", context);
        target
    }

    fn of(endpoint: &Endpoint, path: PathAndQuery, kind: HeaderValue, body: Bytes) -> Self {
        let mut headers = HeaderMap::new();
        endpoint.add_headers(&mut headers);
        headers.insert(CONTENT_TYPE, kind);
        Self { uri: path.into(), headers, body }
    }

    /// The same request to another path.
    pub(super) fn sent_to(self, path: PathAndQuery) -> Self {
        Self { uri: path.into(), ..self }
    }

    /// The request.
    pub(super) fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// What a run found.
#[derive(Debug)]
pub(super) struct Tally {
    /// Of the requests that succeeded, in nanoseconds.
    pub(super) latencies: Histogram<u64>,
    /// Requests that did not.
    pub(super) errors: u64,
    /// What the first of them was.
    pub(super) first_error: Option<String>,
    /// How long it was measured.
    pub(super) measured: Duration,
}

impl Tally {
    fn empty(measured: Duration) -> anyhow::Result<Self> {
        let latencies = Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, DIGITS)?;
        Ok(Self { latencies, errors: 0, first_error: None, measured })
    }

    fn note(&mut self, outcome: Result<(), String>, took: Duration) {
        match outcome {
            Ok(()) => {
                let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(LATENCY_NS_MAX);
                self.latencies.saturating_record(nanoseconds);
            }
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert(error);
            }
        }
    }
}

/// One run.
#[derive(Debug)]
pub(super) struct Load<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) target: &'a Target,
    pub(super) connections: u16,
    pub(super) warm_up: Duration,
    pub(super) measured: Duration,
    pub(super) clock: &'a dyn Clock,
}

impl Load<'_> {
    /// Opens the connections, warms up, measures.
    pub(super) async fn run(&self) -> anyhow::Result<Tally> {
        let opened = (0..self.connections).map(|_| Connection::open(self.endpoint));
        let opened = try_join_all(opened).await?;
        let start = self.clock.now().monotonic + self.warm_up;
        let end = start + self.measured;
        let loops = opened.into_iter().map(|connection| self.send_until(connection, start, end));
        let mut total = Tally::empty(self.measured)?;
        for tally in try_join_all(loops).await? {
            total.latencies.add(&tally.latencies)?;
            total.errors += tally.errors;
            total.first_error = total.first_error.or(tally.first_error);
        }
        Ok(total)
    }

    /// One connection's loop. What begins before `start` or ends after `end` does not count.
    async fn send_until(
        &self,
        mut connection: Connection<Full<Bytes>>,
        start: Instant,
        end: Instant,
    ) -> anyhow::Result<Tally> {
        let mut tally = Tally::empty(self.measured)?;
        let mut before = self.clock.now().monotonic;
        while before < end {
            if connection.sender.ready().await.is_err() {
                connection =
                    Connection::open(self.endpoint).await.context("the connection was lost")?;
                connection.sender.ready().await?;
                before = self.clock.now().monotonic;
            }
            let outcome = exchange(&mut connection, self.target.request()).await;
            let after = self.clock.now().monotonic;
            if before >= start && after <= end {
                tally.note(outcome, after.saturating_duration_since(before));
            }
            before = after;
        }
        Ok(tally)
    }
}

async fn exchange(
    connection: &mut Connection<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<(), String> {
    let response =
        connection.sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        frame.map_err(|error| error.to_string())?;
    }
    if status.is_success() { Ok(()) } else { Err(format!("the answer is {status}")) }
}
