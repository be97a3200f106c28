//! A stand-in for the sidecar: an HTTP server on a Unix socket whose answers a test makes up.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixListener;

use super::client::{Client, Endpoint};

/// A request as it arrived.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) uri: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// An answer, in frames.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    frames: Vec<Vec<u8>>,
    breaks_off: bool,
}

impl Answer {
    pub(super) fn json(status: u16, value: &Value) -> Self {
        let frames = vec![value.to_string().into_bytes()];
        Self { status, headers: Vec::new(), frames, breaks_off: false }
    }

    pub(super) fn problem(status: u16, code: &str) -> Self {
        Self::json(status, &json!({ "title": "Refused", "code": code, "request_id": "r1" }))
    }

    pub(super) fn bytes(bytes: &[u8]) -> Self {
        let frames = bytes.chunks(10_000).map(<[u8]>::to_vec).collect();
        let headers =
            vec![("keypod-key", "demo".to_owned()), ("keypod-key-version", "3".to_owned())];
        Self { status: 200, headers, frames, breaks_off: false }
    }

    pub(super) fn breaking_off(mut self) -> Self {
        self.breaks_off = true;
        self
    }
}

/// The stand-in: runs as long as the test's runtime.
#[derive(Debug)]
pub(super) struct Sidecar(tempfile::TempDir);

impl Sidecar {
    /// Answers each request, once it is whole, with what `answer` makes of it.
    pub(super) fn start(answer: impl Fn(Seen) -> Answer + Send + Sync + 'static) -> Self {
        let answer = Arc::new(answer);
        Self::serve(move |request: Request<Incoming>| {
            let answer = Arc::clone(&answer);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map_err(io::Error::other)?.to_bytes().to_vec();
                let (method, uri) = (head.method.to_string(), head.uri.to_string());
                Ok(answer(Seen { method, uri, headers: head.headers, body }))
            }
        })
    }

    /// Answers each request with what it was, as `seen`: method, path and body.
    pub(super) fn echoing() -> Self {
        Self::start(|request| {
            let body = String::from_utf8(request.body.clone()).unwrap();
            let seen = format!("{} {} {body}", request.method, request.uri);
            Answer::json(200, &serde_json::json!({ "seen": seen }))
        })
    }

    /// Refuses each request without reading its body.
    pub(super) fn refusing(status: u16, code: &'static str) -> Self {
        Self::serve(move |_| async move { Ok(Answer::problem(status, code)) })
    }

    fn serve<F>(answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static) -> Self
    where
        F: Future<Output = io::Result<Answer>> + Send + 'static,
    {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("keypod.sock")).unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let answer = answer.clone();
                let service = service_fn(move |request| {
                    let answer = answer(request);
                    async move { answer.await.map(respond) }
                });
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move {
                    let _ = connection.await;
                });
            }
        });
        Self(folder)
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint::on_socket(&self.0.path().join("keypod.sock"))
    }

    pub(super) fn client(&self) -> Client {
        Client::of(self.endpoint())
    }
}

fn respond(
    answer: Answer,
) -> Response<http_body_util::combinators::UnsyncBoxBody<Bytes, io::Error>> {
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    let frames = answer.frames.into_iter().map(|frame| Ok(Frame::data(Bytes::from(frame))));
    let end = stream::iter(answer.breaks_off.then_some(())).then(|()| async {
        // What was said so far is sent before the connection breaks.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        Err(io::Error::other("broken off"))
    });
    let body = StreamBody::new(stream::iter(frames).chain(end));
    response.body(body.boxed_unsync()).unwrap()
}
