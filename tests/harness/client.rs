//! A plain HTTP client: what an application sends, and nothing that a test does not say.

use std::net::SocketAddr;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

/// A client of one caller's. A clone shares its connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| {
            unreachable!("{} {}", self.status, String::from_utf8_lossy(&self.body))
        })
    }

    /// The `code` of a problem, or nothing.
    #[must_use]
    pub fn code(&self) -> String {
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        problem.get("code").and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// A field of the JSON body, as text.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn text(&self, field: &str) -> String {
        let body = self.json();
        body.get(field).and_then(Value::as_str).expect("the field is a text").to_owned()
    }

    /// A header as text, or nothing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Client {
    /// Over TCP, HTTP/1.1.
    ///
    /// # Panics
    /// If no client can be made.
    #[must_use]
    pub fn tcp(address: SocketAddr, token: Option<&str>) -> Self {
        Self {
            http: reqwest::Client::builder().no_proxy().build().expect("a client"),
            base: format!("http://{address}"),
            token: token.map(str::to_owned),
        }
    }

    /// Over TCP, HTTP/2 with prior knowledge.
    ///
    /// # Panics
    /// If no client can be made.
    #[must_use]
    pub fn http2(address: SocketAddr, token: Option<&str>) -> Self {
        let http = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build();
        Self {
            http: http.expect("a client"),
            base: format!("http://{address}"),
            token: token.map(str::to_owned),
        }
    }

    /// Over a Unix socket.
    ///
    /// # Panics
    /// If no client can be made.
    #[must_use]
    pub fn unix(socket: &Path, token: Option<&str>) -> Self {
        let http = reqwest::Client::builder().no_proxy().unix_socket(socket).build();
        Self {
            http: http.expect("a client"),
            base: "http://localhost".to_owned(),
            token: token.map(str::to_owned),
        }
    }

    /// Over a Unix socket, HTTP/2 with prior knowledge.
    ///
    /// # Panics
    /// If no client can be made.
    #[must_use]
    pub fn unix_http2(socket: &Path, token: Option<&str>) -> Self {
        let http = reqwest::Client::builder().no_proxy().http2_prior_knowledge();
        Self {
            http: http.unix_socket(socket).build().expect("a client"),
            base: "http://localhost".to_owned(),
            token: token.map(str::to_owned),
        }
    }

    /// A request with this caller's token and nothing else.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().unwrap_or(reqwest::Method::GET);
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request.
    ///
    /// # Panics
    /// If no whole answer comes.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.send().await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.bytes().await.expect("a whole body").to_vec();
        Answer { status, headers, body }
    }

    /// Sends a request whose answer may break off: what came of it, and whether it ended cleanly. An answer
    /// that broke off before its head was sent has the status 0.
    pub async fn send_to_its_end(&self, request: reqwest::RequestBuilder) -> (Answer, bool) {
        let Ok(mut answer) = request.send().await else {
            return (Answer { status: 0, headers: HeaderMap::new(), body: Vec::new() }, false);
        };
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let mut body = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return (Answer { status, headers, body }, true),
                Err(_) => return (Answer { status, headers, body }, false),
            }
        }
    }

    /// A `POST` of octets, not sent yet.
    pub fn octets(&self, path: &str, context: &Value) -> reqwest::RequestBuilder {
        self.request("POST", path)
            .header("content-type", "application/octet-stream")
            .header("keypod-context", URL_SAFE_NO_PAD.encode(context.to_string()))
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    /// The keys of the list, without those that a sidecar makes for itself.
    ///
    /// # Panics
    /// If there is no list.
    pub async fn keys(&self) -> Vec<Value> {
        let listed = self.get("/v1/keys").await.json();
        let keys = listed.get("keys").and_then(Value::as_array).expect("a list of keys");
        let name =
            |key: &Value| key.get("name").and_then(Value::as_str).expect("a name").to_owned();
        keys.iter().filter(|key| !name(key).starts_with("keypod.")).cloned().collect()
    }

    /// `POST` of JSON.
    pub async fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request("POST", path).json(body)).await
    }

    /// `POST` of octets.
    pub async fn post_octets(&self, path: &str, context: &Value, body: Vec<u8>) -> Answer {
        self.send(self.octets(path, context).body(body)).await
    }

    /// `POST` of octets whose length is not said: in chunks.
    pub async fn post_chunked(&self, path: &str, context: &Value, body: Vec<u8>) -> Answer {
        self.send(self.octets(path, context).body(in_chunks(body))).await
    }

    /// Encrypts one message in JSON: its ciphertext in text form.
    ///
    /// # Panics
    /// If that fails.
    pub async fn encrypt(&self, key: &str, plaintext: &[u8], context: &Value) -> String {
        let body =
            json!({ "key": key, "plaintext": STANDARD.encode(plaintext), "context": context });
        let answer = self.post_json("/v1/encrypt", &body).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        answer.text("ciphertext")
    }

    /// Decrypts one message in JSON.
    ///
    /// # Panics
    /// If that fails.
    pub async fn decrypt(&self, ciphertext: &str, context: &Value) -> Vec<u8> {
        let answer = self.try_decrypt(ciphertext, context).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        STANDARD.decode(answer.text("plaintext")).expect("base64")
    }

    /// Decrypts one message in JSON, whatever comes of it.
    pub async fn try_decrypt(&self, ciphertext: &str, context: &Value) -> Answer {
        let body = json!({ "ciphertext": ciphertext, "context": context });
        self.post_json("/v1/decrypt", &body).await
    }
}

/// A body whose length is not known before its end.
#[must_use]
pub fn in_chunks(bytes: Vec<u8>) -> reqwest::Body {
    let chunks: Vec<_> =
        bytes.chunks(10_000).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect();
    reqwest::Body::wrap_stream(futures_util::stream::iter(chunks))
}
