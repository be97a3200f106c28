//! Speaks HTTP/1.1 to the sidecar on this machine.
//!
//! Depends on [`crate::config`] (through [`endpoint`]), [`super::failure`] and hyper. It never speaks to another
//! host, never sends a token that was not in a file, and never takes an answer as whole that broke off
//! (`an_answer_that_breaks_off_is_an_error`).

mod connection;
mod endpoint;
mod problem;

pub(super) use connection::Connection;
pub(super) use endpoint::{DEV_FOLDER, Endpoint, EndpointArgs, check_own};
pub(super) use problem::Problem;

use std::io;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING, USER_AGENT,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body, Incoming};
use zeroize::Zeroizing;

/// Longest JSON answer that is taken: a batch at the API's limit is well below.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Longest problem that is taken.
const PROBLEM_BYTES_MAX: usize = 64 << 10;
/// How long an answer in JSON may take. The sidecar gives up on a root or a store long before.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// What the API's binary routes take and give.
pub(super) const OCTET_STREAM: HeaderValue = HeaderValue::from_static("application/octet-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The body of a request: bytes at hand, or a stream that can fail.
pub(super) type RequestBody = BoxBody<Bytes, io::Error>;

/// A body of bytes at hand. They are wiped once they are sent.
pub(super) fn whole(bytes: Zeroizing<Vec<u8>>) -> RequestBody {
    shared(Full::new(Bytes::from_owner(bytes)))
}

/// A body of bytes that are not secret.
pub(super) fn shared(bytes: Full<Bytes>) -> RequestBody {
    bytes.map_err(|never| match never {}).boxed()
}

/// One sidecar, with a connection that is kept from request to request.
#[derive(Debug)]
pub(super) struct Client {
    endpoint: Endpoint,
    connection: Option<Connection<RequestBody>>,
}

impl Client {
    /// A client of the sidecar that the arguments, the environment or the usual places name. Connects later.
    pub(super) fn find(args: &EndpointArgs) -> anyhow::Result<Self> {
        Ok(Self::of(Endpoint::find(args)?))
    }

    /// A client of the sidecar at `endpoint`.
    pub(super) fn of(endpoint: Endpoint) -> Self {
        Self { endpoint, connection: None }
    }

    /// `GET path`, answered in JSON.
    pub(super) async fn read(&mut self, path: &str) -> anyhow::Result<serde_json::Value> {
        let answer = self.exchange(Method::GET, path, None).await?;
        serde_json::from_slice(&answer).context("the sidecar's answer is not JSON")
    }

    /// `POST path`, with a JSON body or none, answered in JSON.
    pub(super) async fn post(
        &mut self,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> anyhow::Result<serde_json::Value> {
        let body = body.map(|body| Zeroizing::new(body.to_string().into_bytes()));
        let answer = self.exchange(Method::POST, path, body).await?;
        serde_json::from_slice(&answer).context("the sidecar's answer is not JSON")
    }

    /// One request and its whole answer, both of which may hold plaintext: they are wiped.
    pub(super) async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        json: Option<Zeroizing<Vec<u8>>>,
    ) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        let has_body = method == Method::POST;
        let mut request = Request::builder().method(method).uri(path);
        if json.is_some() {
            request = request.header(CONTENT_TYPE, JSON);
        } else if has_body {
            request = request.header(CONTENT_LENGTH, 0);
        }
        self.exchange_prepared(request.body(whole(json.unwrap_or_default()))?).await
    }

    /// One request that has been made already, and its whole answer.
    pub(super) async fn exchange_prepared(
        &mut self,
        request: Request<RequestBody>,
    ) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        let exchange = async {
            let response = self.send(request).await?;
            collect(response.into_body(), ANSWER_BYTES_MAX).await
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, exchange).await {
            Ok(answer) => answer,
            Err(_) => {
                self.connection = None;
                anyhow::bail!("no answer from the sidecar in {} s", ANSWER_TIMEOUT.as_secs())
            }
        }
    }

    /// Sends `request` with the headers that every request has, and returns an answer that is a success. Any
    /// other answer is read and becomes a [`Problem`].
    pub(super) async fn send(
        &mut self,
        mut request: Request<RequestBody>,
    ) -> anyhow::Result<Response<Incoming>> {
        self.endpoint.add_headers(request.headers_mut());
        let connection = self.connection().await?;
        let response = match connection.sender.send_request(request).await {
            Ok(response) => response,
            Err(error) => {
                self.connection = None;
                return Err(anyhow::Error::new(error).context("the sidecar closed the connection"));
            }
        };
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let refusal = refusal(status, response.into_body()).await;
        // What is left of the request's body would have to be sent before the connection is of use again.
        self.connection = None;
        Err(refusal)
    }

    /// Closes the connection. After an answer that was not read to its end it is of no use: what is left of the
    /// request could wait on it for ever.
    pub(super) fn disconnect(&mut self) {
        self.connection = None;
    }

    async fn connection(&mut self) -> anyhow::Result<&mut Connection<RequestBody>> {
        if let Some(mut open) = self.connection.take()
            && open.sender.ready().await.is_ok()
        {
            return Ok(self.connection.insert(open));
        }
        let mut opened = Connection::open(&self.endpoint).await?;
        opened.sender.ready().await.context("the sidecar closed the connection")?;
        Ok(self.connection.insert(opened))
    }
}

async fn refusal(status: StatusCode, body: Incoming) -> anyhow::Error {
    let body = collect(body, PROBLEM_BYTES_MAX).await.unwrap_or_default();
    Problem::parse(status, &body).into()
}

/// The whole body, at most `bytes_max` of it.
async fn collect(body: Incoming, bytes_max: usize) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut body = Limited::new(body, bytes_max);
    // Room for what is announced: a vector that grows leaves unwiped copies behind.
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(0).min(bytes_max);
    let mut bytes = Zeroizing::new(Vec::with_capacity(announced));
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| anyhow::anyhow!(error)).context("the answer broke off")?;
        if let Ok(data) = frame.into_data() {
            bytes.extend_from_slice(&data);
            wipe(data);
        }
    }
    Ok(bytes)
}

/// Wipes `bytes`, if nobody else holds them. hyper's read buffer may: that is the part that is not practical.
pub(super) fn wipe(bytes: Bytes) {
    if let Ok(mut bytes) = bytes.try_into_mut() {
        zeroize::Zeroize::zeroize(bytes.as_mut());
    }
}

/// Whether the end of `response` can be told from a connection that broke: it has a length, or chunks of which
/// one is the last.
pub(super) fn has_a_marked_end(response: &Response<Incoming>) -> bool {
    response.body().size_hint().exact().is_some()
        || response.headers().contains_key(TRANSFER_ENCODING)
}

impl Endpoint {
    /// Adds what every request has: the host, the client's name, the token if there is one.
    pub(super) fn add_headers(&self, headers: &mut http::HeaderMap) {
        const AGENT: HeaderValue =
            HeaderValue::from_static(concat!("keypod-cli/", env!("CARGO_PKG_VERSION")));
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        headers.insert(USER_AGENT, AGENT);
        if let Some(token) = self.authorization() {
            headers.insert(AUTHORIZATION, token.clone());
        }
    }
}

#[cfg(test)]
mod tests;
