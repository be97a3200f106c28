//! Asks issuers: over TLS (rustls over aws-lc-rs) or on this machine, without redirects and proxies, and reads no more
//! than it was told to.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, RequestBuilder, Response};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use serde_json::Value;
use zeroize::Zeroizing;

use super::error::{FetchError, IdentityError};
use super::settings::Endpoint;
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
    let bytes = Zeroizing::new(read_file(path, TOKEN_BYTES_MAX).map_err(|_| unreadable())?);
    let text = std::str::from_utf8(&bytes).map_err(|_| unreadable())?.trim();
    let text = Zeroizing::new(format!("Bearer {text}"));
    let mut value = HeaderValue::from_str(&text).map_err(|_| unreadable())?;
    value.set_sensitive(true);
    Ok(value)
}

/// The whole of a regular file that is no longer than `max`.
pub(super) fn read_file(path: &Path, max: u64) -> std::io::Result<Vec<u8>> {
    let (file, metadata) = file::open(path)?;
    if !metadata.is_file() || metadata.len() > max {
        return Err(std::io::Error::other("it is no file, or too long"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1);
    file.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn tls(provider: &str, endpoint: &Endpoint) -> Result<ClientConfig, IdentityError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|source| unusable(provider, source))?;
    let mut store = RootCertStore::empty();
    let Some(path) = &endpoint.ca_file else {
        // Without TLS, whose certificates are believed is never asked; a small image may have none.
        if endpoint.address.starts_with("http://") {
            return Ok(builder.with_root_certificates(store).with_no_client_auth());
        }
        let builder = builder.with_platform_verifier();
        let builder = builder.map_err(|source| unusable(provider, source))?;
        return Ok(builder.with_no_client_auth());
    };
    let pem = read_file(path, PEM_BYTES_MAX).map_err(|source| IdentityError::Unreadable {
        provider: provider.to_owned(),
        path: path.clone(),
        source,
    })?;
    let no_certificate = || IdentityError::Content {
        provider: provider.to_owned(),
        path: path.clone(),
        wanted: "certificates in PEM",
    };
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| no_certificate())?;
        store.add(certificate).map_err(|_| no_certificate())?;
    }
    if store.is_empty() {
        return Err(no_certificate());
    }
    Ok(builder.with_root_certificates(store).with_no_client_auth())
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
