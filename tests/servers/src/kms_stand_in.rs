//! A stand-in for AWS KMS in front of moto: it answers what moto does not enforce, and sees every request.
//!
//! What it answers is switched while it runs. What it passes on, it corrects in one place, where moto is not as AWS
//! documents: a `Decrypt` whose ciphertext names another key than `KeyId` is an `IncorrectKeyException`, and moto
//! says `AccessDeniedException`. It has its own thread and runtime, so tests of any kind may use it, and so may a
//! sidecar in another process.

mod answer;

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::moto::fail;
use crate::plain_http::{self, Reply};

pub use answer::Answer;

/// A request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `Encrypt`, `Decrypt`, `DescribeKey`; empty for what is not a call of KMS.
    pub operation: String,
    /// Its parameters.
    pub parameters: Value,
    /// The id of the access key that signed it.
    pub access_key: Option<String>,
    /// The region that it was signed for.
    pub region: Option<String>,
    /// When it had come.
    pub at: Instant,
}

#[derive(Debug)]
struct State {
    upstream: Option<SocketAddr>,
    now: Mutex<Now>,
    seen: Mutex<Vec<Seen>>,
    /// What moto answered, by operation and parameters; `None` while it is asked each time.
    replies: Mutex<Option<HashMap<String, Reply>>>,
}

#[derive(Debug)]
struct Now {
    answer: Answer,
    only: Option<String>,
    latency: Duration,
}

/// A running stand-in. It ends when this is dropped, or with the process.
#[derive(Debug)]
pub struct KmsStandIn {
    address: SocketAddr,
    state: Arc<State>,
    _stop: oneshot::Sender<()>,
}

impl KmsStandIn {
    /// One that passes on to the moto at `upstream` until it is told otherwise.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn before(upstream: &crate::MotoServer) -> Self {
        Self::start(Some(upstream.address()), Answer::PassOn)
    }

    /// One with nothing behind it.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn alone(answer: Answer) -> Self {
        Self::start(None, answer)
    }

    fn start(upstream: Option<SocketAddr>, answer: Answer) -> Self {
        let now = Mutex::new(Now { answer, only: None, latency: Duration::ZERO });
        let state =
            Arc::new(State { upstream, now, seen: Mutex::default(), replies: Mutex::default() });
        match serve(&state) {
            Ok((address, stop)) => Self { address, state, _stop: stop },
            Err(problem) => fail(&format!("the stand-in for KMS cannot listen: {problem}")),
        }
    }

    /// Where it listens, as an endpoint for an AWS SDK.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers everything like this from now on.
    pub fn answer(&self, answer: Answer) {
        let mut now = self.state.now();
        (now.answer, now.only) = (answer, None);
    }

    /// Answers `operation` like this from now on, and passes everything else on.
    pub fn answer_only(&self, operation: &str, answer: Answer) {
        let mut now = self.state.now();
        (now.answer, now.only) = (answer, Some(operation.to_owned()));
    }

    /// Waits this long before each answer from now on.
    pub fn set_latency(&self, latency: Duration) {
        self.state.now().latency = latency;
    }

    /// Asks moto once for each call from now on, and answers the next one with the same parameters by itself: so
    /// that a thousand calls take the latency that was set, and not what moto takes for them.
    pub fn remember(&self) {
        self.state.replies().get_or_insert_default();
    }

    /// How many requests came for `operation`.
    #[must_use]
    pub fn count(&self, operation: &str) -> usize {
        self.seen().iter().filter(|seen| seen.operation == operation).count()
    }

    /// All requests that came, in order.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl State {
    fn replies(&self) -> std::sync::MutexGuard<'_, Option<HashMap<String, Reply>>> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to answer to `operation`, and how long to wait before.
    fn answer_to(&self, operation: &str) -> (Answer, Duration) {
        let now = self.now();
        let meant = now.only.as_deref().is_none_or(|only| only == operation);
        (if meant { now.answer.clone() } else { Answer::PassOn }, now.latency)
    }
}

fn serve(state: &Arc<State>) -> io::Result<(SocketAddr, oneshot::Sender<()>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, mut stopped) = oneshot::channel();
    let state = Arc::clone(state);
    thread::Builder::new().name("kms-stand-in".to_owned()).spawn(move || {
        runtime.block_on(async {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            loop {
                tokio::select! {
                    accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                        tokio::spawn(serve_connection(stream, Arc::clone(&state)));
                    },
                    _ = &mut stopped => return,
                }
            }
        });
    })?;
    Ok((address, stop))
}

async fn serve_connection(stream: tokio::net::TcpStream, state: Arc<State>) {
    let service = service_fn(|request| respond(Arc::clone(&state), request));
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Says goodbye without an answer: the connection closes.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("closed on purpose")
    }
}

impl std::error::Error for Closed {}

async fn respond(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Closed> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
    let operation = header(&head.headers, "x-amz-target");
    let operation = operation.rsplit('.').next().unwrap_or_default().to_owned();
    let seen = Seen {
        operation: operation.clone(),
        parameters: serde_json::from_slice(&body).unwrap_or_default(),
        access_key: credential_part(&head.headers, 0),
        region: credential_part(&head.headers, 2),
        at: now(),
    };
    let call = format!("{operation} {}", seen.parameters);
    state.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    let (answer, latency) = state.answer_to(&operation);
    tokio::time::sleep(latency).await;
    match answer {
        Answer::PassOn => {
            let known = state.replies().as_ref().and_then(|replies| replies.get(&call).cloned());
            let reply = match known {
                Some(reply) => reply,
                None => pass_on(state.upstream, head.headers, body, &operation).await?,
            };
            if let Some(replies) = &mut *state.replies() {
                replies.insert(call, reply.clone());
            }
            Ok(response(reply.status, "application/x-amz-json-1.1", &[], reply.body))
        }
        Answer::Error { status, code, message, headers } => {
            let body = answer::error_body(&code, &message);
            Ok(response(status, "application/x-amz-json-1.1", &headers, body))
        }
        Answer::Raw { status, content_type, body } => {
            Ok(response(status, &content_type, &[], body.into()))
        }
        Answer::Hang => match std::future::pending::<Infallible>().await {},
        Answer::Close => Err(Closed),
    }
}

fn header(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

/// The part of `Credential=KEY/DATE/REGION/kms/aws4_request` at this place.
fn credential_part(headers: &HeaderMap, place: usize) -> Option<String> {
    let authorization = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (_, credential) = authorization.split_once("Credential=")?;
    let (credential, _) = credential.split_once(',')?;
    credential.split('/').nth(place).map(str::to_owned)
}

fn response(
    status: u16,
    content_type: &str,
    headers: &[(String, String)],
    body: Vec<u8>,
) -> Response<Full<Bytes>> {
    let mut builder = Response::builder().status(status).header("content-type", content_type);
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    builder.body(Full::new(body.into())).unwrap_or_default()
}

async fn pass_on(
    upstream: Option<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
    operation: &str,
) -> Result<Reply, Closed> {
    let upstream = upstream.ok_or(Closed)?;
    let call = move || {
        let names = ["authorization", "content-type", "x-amz-target"];
        let values: Vec<_> = names.map(|name| (name, header(&headers, name))).into();
        let values: Vec<_> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
        plain_http::call(upstream, "POST", "/", &values, &body)
    };
    let reply = tokio::task::spawn_blocking(call).await.map_err(|_| Closed)?;
    Ok(corrected(reply.map_err(|_| Closed)?, operation))
}

/// moto's answer as AWS documents it. moto tells a ciphertext of another key from one of no key of this account,
/// and refuses both with `AccessDeniedException`; AWS, asked with a `KeyId`, says `IncorrectKeyException`.
fn corrected(reply: Reply, operation: &str) -> Reply {
    let denied = String::from_utf8_lossy(&reply.body).contains("AccessDeniedException");
    if operation == "Decrypt" && denied {
        let message =
            "The key ID in the request does not identify a CMK that can perform this operation.";
        return Reply { status: 400, body: answer::error_body("IncorrectKeyException", message) };
    }
    reply
}

#[allow(clippy::disallowed_methods, reason = "a test compares this with its own clock")]
fn now() -> Instant {
    Instant::now()
}
