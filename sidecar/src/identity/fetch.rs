//! Asks issuers: over TLS (rustls over aws-lc-rs) or on this machine, without redirects and proxies, and reads no more
//! than it was told to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, RequestBuilder, Response};
use rustls::ClientConfig;
use serde_json::Value;
use zeroize::Zeroizing;

use super::error::{FetchError, IdentityError};
use super::settings::Endpoint;
use crate::tls::{self, TlsError};
use crate::{file, unreached};

/// For one answer, from the first byte sent to the last one read.
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const PEM_BYTES_MAX: u64 = 1 << 20;
const TOKEN_BYTES_MAX: u64 = 16 << 10;

/// Who asks one issuer.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    client: Client,
    endpoint: Endpoint,
}

impl Fetcher {
    pub(super) fn new(provider: &str, endpoint: &Endpoint) -> Result<Self, IdentityError> {
        let tls = tls(provider, endpoint)?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(FETCH_TIMEOUT)
            .pool_max_idle_per_host(1)
            .build()
            .map_err(|source| unusable(provider, source))?;
        Ok(Self { client, endpoint: endpoint.clone() })
    }

    pub(super) fn address(&self) -> &str {
        &self.endpoint.address
    }

    /// What is at `address`, in full. Whatever its type: a JWKS is `application/jwk-set+json` to Kubernetes, which
    /// refuses who asks for `application/json`, and the other to most.
    pub(super) async fn get(&self, address: &str, max: usize) -> Result<Vec<u8>, FetchError> {
        self.send(self.client.get(address), max).await
    }

    /// What is answered to `body` at `address`.
    pub(super) async fn post(
        &self,
        address: &str,
        body: &Value,
        max: usize,
    ) -> Result<Vec<u8>, FetchError> {
        let request = self.client.post(address).header("content-type", "application/json");
        self.send(request.body(body.to_string()), max).await
    }

    async fn send(&self, mut request: RequestBuilder, max: usize) -> Result<Vec<u8>, FetchError> {
        if let Some(path) = &self.endpoint.token_file {
            request = request.header(AUTHORIZATION, bearer(path)?);
        }
        let response = request.send().await.map_err(|error| unreached(&error))?;
        match response.status().as_u16() {
            200..=299 => read(response, max).await,
            status => Err(FetchError::Status { status }),
        }
    }
}

async fn read(mut response: Response, max: usize) -> Result<Vec<u8>, FetchError> {
    let mut answer = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| unreached(&error))? {
        if answer.len() + piece.len() > max {
            return Err(FetchError::TooLong { max });
        }
        answer.extend_from_slice(&piece);
    }
    Ok(answer)
}

/// The token in `path`, as a header that no log shows.
fn bearer(path: &Path) -> Result<HeaderValue, FetchError> {
    let unreadable = || FetchError::File { path: path.to_owned() };
    let bytes = Zeroizing::new(file::read(path, TOKEN_BYTES_MAX).map_err(|_| unreadable())?);
    let text = std::str::from_utf8(&bytes).map_err(|_| unreadable())?.trim();
    let text = Zeroizing::new(format!("Bearer {text}"));
    let mut value = HeaderValue::from_str(&text).map_err(|_| unreadable())?;
    value.set_sensitive(true);
    Ok(value)
}

fn tls(provider: &str, endpoint: &Endpoint) -> Result<ClientConfig, IdentityError> {
    let read = |path: &PathBuf| {
        file::read(path, PEM_BYTES_MAX).map_err(|source| IdentityError::Unreadable {
            provider: provider.to_owned(),
            path: path.clone(),
            source,
        })
    };
    let pem = endpoint.ca_file.as_ref().map(read).transpose()?;
    let needed = !endpoint.address.starts_with("http://");
    let builder = tls::builder(pem.as_deref(), needed);
    let builder = builder.map_err(|error| match (error, &endpoint.ca_file) {
        (TlsError::NoCertificate, Some(path)) => IdentityError::Content {
            provider: provider.to_owned(),
            path: path.clone(),
            wanted: "certificates in PEM",
        },
        (TlsError::NoAuthorities(source) | TlsError::Library(source), _) => {
            unusable(provider, source)
        }
        (error, None) => unusable(provider, error),
    })?;
    Ok(builder.with_no_client_auth())
}

fn unusable(
    provider: &str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> IdentityError {
    IdentityError::Client { provider: provider.to_owned(), source: source.into() }
}

fn unreached(error: &reqwest::Error) -> FetchError {
    let mend = "set ca_file to the authority that signed the server's";
    FetchError::Unreached { reason: unreached::reason(error, mend) }
}
