//! How TLS is spoken with a collector: rustls over aws-lc-rs, 1.2 or 1.3, X25519MLKEM768 offered first.
//!
//! The authorities are those of a `ca_file` and no others, or the system's.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use zeroize::Zeroizing;

use super::{ClientIdentity, SinkError};
use crate::file;

const PEM_BYTES_MAX: u64 = 1 << 20;

/// The settings of TLS for `sink`. Without TLS, as `in_the_clear` says, nobody's certificate is believed.
pub(super) fn config(
    sink: &'static str,
    in_the_clear: bool,
    ca_file: Option<&Path>,
    identity: Option<&ClientIdentity>,
) -> Result<ClientConfig, SinkError> {
    let builder = builder(sink, in_the_clear, ca_file)?;
    let Some(identity) = identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(sink, &identity.cert_file)?;
    let pem = read(sink, &identity.key_file, PEM_BYTES_MAX)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| SinkError::Content {
        sink,
        path: identity.key_file.clone(),
        wanted: "a private key in PEM, without a passphrase",
    })?;
    builder.with_client_auth_cert(chain, key).map_err(|error| unusable(sink, error))
}

fn builder(
    sink: &'static str,
    in_the_clear: bool,
    ca_file: Option<&Path>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, SinkError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| unusable(sink, error))?;
    let mut store = RootCertStore::empty();
    let Some(path) = ca_file else {
        // A small image may have no authorities, and where there is no TLS none are needed.
        if in_the_clear {
            return Ok(builder.with_root_certificates(store));
        }
        return builder.with_platform_verifier().map_err(|error| unusable(sink, error));
    };
    for certificate in certificates(sink, path)? {
        store.add(certificate).map_err(|_| no_certificate(sink, path))?;
    }
    Ok(builder.with_root_certificates(store))
}

fn certificates(
    sink: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, SinkError> {
    let pem = read(sink, path, PEM_BYTES_MAX)?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match parsed {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(no_certificate(sink, path)),
    }
}

fn no_certificate(sink: &'static str, path: &Path) -> SinkError {
    SinkError::Content { sink, path: path.to_owned(), wanted: "certificates in PEM" }
}

fn unusable(
    sink: &'static str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> SinkError {
    SinkError::Client { sink, source: source.into() }
}

/// The whole of a regular file of at most `max` bytes.
pub(super) fn read(
    sink: &'static str,
    path: &Path,
    max: u64,
) -> Result<Zeroizing<Vec<u8>>, SinkError> {
    let unreadable = |source| SinkError::Unreadable { sink, path: path.to_owned(), max, source };
    let (file, metadata) = file::open(path).map_err(unreadable)?;
    if !metadata.is_file() || metadata.len() > max {
        return Err(unreadable(std::io::Error::other("it is no file, or too long")));
    }
    // Room for all of it and one more: a buffer that grows leaves copies behind.
    let room = usize::try_from(max).unwrap_or(0).min(1 << 20) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(max).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}
