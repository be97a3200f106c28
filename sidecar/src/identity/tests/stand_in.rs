//! An issuer that answers as it is told and counts who asks.

use std::sync::Mutex;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use super::*;

/// A request: its path, its bearer token, its body.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) authorization: Option<String>,
    pub(super) body: Value,
}

/// A status and a body; without, no answer comes.
pub(super) type Answer = Option<(u16, String)>;
type Says = Box<dyn Fn(&Asked) -> Answer + Send + Sync>;

pub(super) struct StandIn {
    pub(super) address: String,
    says: Arc<Mutex<Says>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl StandIn {
    pub(super) async fn start(says: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let says: Arc<Mutex<Says>> = Arc::new(Mutex::new(Box::new(says)));
        let (seen, told) = (Arc::clone(&asked), Arc::clone(&says));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, told) = (Arc::clone(&seen), Arc::clone(&told));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (seen, told) = (Arc::clone(&seen), Arc::clone(&told));
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let authorization = parts.headers.get("authorization");
                        let asked = Asked {
                            path: parts.uri.path().to_owned(),
                            authorization: authorization
                                .map(|value| value.to_str().unwrap().to_owned()),
                            body: serde_json::from_slice(&body).unwrap_or_default(),
                        };
                        let answer = told.lock().unwrap()(&asked);
                        seen.lock().unwrap().push(asked);
                        let Some((status, text)) = answer else { std::future::pending().await };
                        let mut response = Response::builder().status(status);
                        if (300..400).contains(&status) {
                            response = response.header("location", text.clone());
                        }
                        response.body(Full::new(Bytes::from(text)))
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, says, asked }
    }

    /// One that answers everything with these keys.
    pub(super) async fn with_keys(signers: &[&Signer]) -> Self {
        let keys = signer::jwks(signers);
        Self::start(move |_| Some((200, keys.clone()))).await
    }

    pub(super) fn says(&self, says: impl Fn(&Asked) -> Answer + Send + Sync + 'static) {
        *self.says.lock().unwrap() = Box::new(says);
    }

    pub(super) fn says_keys(&self, signers: &[&Signer]) {
        let keys = signer::jwks(signers);
        self.says(move |_| Some((200, keys.clone())));
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}
