//! One request to Vault and its answer.
//!
//! `vaultrs` says where its endpoints are and what they answer; how they are asked is here, over its own HTTP client
//! (`reqwest`), because of what `vaultrs` does not do: it reads `VAULT_*` from the environment, follows redirects
//! with the token, has no lowest version of TLS, panics at a token that is no header, drops `Retry-After`, logs what
//! the server said, and leaves two copies of each body behind. Here bodies are written once, into memory that wipes
//! itself, and so are answers. What the HTTP library itself keeps (read and write buffers, the token's header, TLS)
//! is not wiped.
//!
//! Proxies of the environment are not used, and redirects are not followed. Tests:
//! `a_redirect_is_not_followed_with_the_token`, `nothing_is_taken_from_the_environment`.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, Response, Url};
use rustify::Endpoint;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vaultrs::api::EndpointResult;

use super::failure::{CallError, Failure, judge, quoted};
use super::{VaultRootError, VaultSettings, tls};
use crate::root::is_this_machine;
use crate::secret::WipedBytes;
use crate::unreached;

/// Longer than any body without its secrets: names, a binding, a ciphertext.
const BODY_BYTES: usize = 2 * 1024;
/// Room for an answer that does not say how long it is; longer than any with a secret.
const ANSWER_BYTES: usize = 4 * 1024;
/// Longer than any answer that is looked at; a key of a thousand versions is.
const ANSWER_BYTES_MAX: usize = 128 * 1024;
/// Shorter than the five minutes after which Vault closes a connection that nobody uses.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// How Vault is reached.
pub(super) struct Transport {
    client: Client,
    address: Url,
    headers: HeaderMap,
}

impl Transport {
    pub(super) fn new(
        settings: &VaultSettings,
        attempt_timeout: Duration,
    ) -> Result<Self, VaultRootError> {
        let address = address(&settings.address)?;
        let (ca_file, identity) = (settings.ca_file.as_deref(), settings.client_identity.as_ref());
        let tls = tls::config(ca_file, address.scheme() == "https", identity)?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .http1_only()
            .timeout(attempt_timeout)
            .pool_idle_timeout(IDLE_MAX)
            .build()
            .map_err(|source| VaultRootError::Client { source: source.into() })?;
        let mut headers = HeaderMap::new();
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        if let Some(namespace) = &settings.namespace {
            let namespace =
                HeaderValue::from_str(namespace).map_err(|_| VaultRootError::Setting {
                    setting: "namespace",
                    problem: "it has to be printable ASCII",
                })?;
            headers.insert("x-vault-namespace", namespace);
        }
        Ok(Self { client, address, headers })
    }

    /// Asks `endpoint`, with `body` in JSON if there is one.
    ///
    /// Neither `token` nor `secrets`, what is secret in `body`, is repeated in what an error says.
    pub(super) async fn call<E: Endpoint>(
        &self,
        endpoint: &E,
        body: Option<&(impl Serialize + Sync)>,
        token: Option<&str>,
        secrets: &[&str],
    ) -> Result<EndpointResult<E::Response>, CallError> {
        self.call_for(endpoint, body, token, secrets).await
    }

    /// [`Transport::call`] with another answer than that which `vaultrs` has for `endpoint`.
    pub(super) async fn call_for<A: DeserializeOwned>(
        &self,
        endpoint: &impl Endpoint,
        body: Option<&(impl Serialize + Sync)>,
        token: Option<&str>,
        secrets: &[&str],
    ) -> Result<A, CallError> {
        let method: Method = endpoint.method().into();
        let mut request = self.client.request(method, self.url(&endpoint.path()));
        request = request.headers(self.headers.clone());
        if let Some(token) = token {
            request = request.header("x-vault-token", hidden(token)?);
        }
        if let Some(body) = body {
            let room = BODY_BYTES + secrets.iter().map(|secret| secret.len()).sum::<usize>();
            request = request.body(written(body, room)?);
            request = request.header("content-type", "application/json");
        }
        let response = request.send().await.map_err(unreached)?;
        let (status, retry_after) = (response.status().as_u16(), retry_after(&response));
        let answer = read(response).await?;
        if !matches!(status, 200..=299) {
            #[derive(serde::Deserialize)]
            struct Errors {
                errors: Vec<String>,
            }
            let said = serde_json::from_slice(&answer).ok();
            let hidden: Vec<&str> = token.into_iter().chain(secrets.iter().copied()).collect();
            let said = said.map(|Errors { errors }| quoted(&errors, &hidden));
            return Err(judge(status, said, retry_after));
        }
        // What serde_json would say about it is not passed on: it may quote the answer.
        serde_json::from_slice(&answer).map_err(|_| {
            CallError::Failed(Failure::unavailable(
                "it gave an answer that is not Vault's: look at what stands between, and at address",
            ))
        })
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.address.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1");
            segments.extend(path.split('/').map(str::trim).filter(|part| !part.is_empty()));
        }
        url
    }
}

/// `text` as an address: its scheme, host and port, and perhaps a path, and nothing that could be secret.
fn address(text: &str) -> Result<Url, VaultRootError> {
    let problem = "it has to be https://HOST:PORT, without a user; http:// to this machine only";
    let wrong = || VaultRootError::Setting { setting: "address", problem };
    let url = Url::parse(text).map_err(|_| wrong())?;
    let loopback = is_this_machine(url.host_str().ok_or_else(wrong)?);
    let bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    match url.scheme() {
        "https" if bare => Ok(url),
        "http" if bare && loopback => Ok(url),
        _ => Err(wrong()),
    }
}

fn hidden(token: &str) -> Result<HeaderValue, CallError> {
    let mut value = HeaderValue::from_str(token)
        .map_err(|_| CallError::Failed(Failure::unavailable("the token is not one")))?;
    value.set_sensitive(true);
    Ok(value)
}

/// `body` in JSON, written in place if `room` is enough.
fn written(body: &impl Serialize, room: usize) -> Result<Bytes, CallError> {
    let mut bytes = WipedBytes::with_capacity(room);
    serde_json::to_writer(&mut *bytes, body)
        .map_err(|_| CallError::Failed(Failure::unavailable("the request cannot be written")))?;
    Ok(Bytes::from_owner(bytes))
}

async fn read(mut response: Response) -> Result<WipedBytes, CallError> {
    let said = response.content_length().and_then(|length| usize::try_from(length).ok());
    let mut answer = WipedBytes::with_capacity(said.unwrap_or(ANSWER_BYTES).min(ANSWER_BYTES_MAX));
    while let Some(piece) = response.chunk().await.map_err(unreached)? {
        if answer.len() + piece.len() > ANSWER_BYTES_MAX {
            let reason = format!("it answered with more than {ANSWER_BYTES_MAX} bytes");
            return Err(CallError::Failed(Failure::unavailable(reason)));
        }
        if answer.len() + piece.len() > answer.capacity() {
            let mut longer = WipedBytes::with_capacity(2 * (answer.len() + piece.len()));
            longer.extend_from_slice(&answer);
            answer = longer;
        }
        answer.extend_from_slice(&piece);
    }
    Ok(answer)
}

fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    text.parse().ok().map(Duration::from_secs)
}

#[expect(clippy::needless_pass_by_value, reason = "it is the error of a map_err")]
fn unreached(error: reqwest::Error) -> CallError {
    let mend = "set ca_file to the authority that signed the server's, and address to a name in it";
    CallError::Failed(Failure::unavailable(unreached::reason(&error, mend)))
}
